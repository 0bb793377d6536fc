"""The search as a study in Optuna's own database, for its dashboard and its analyses.

    optuna-dashboard sqlite:///.nightshift/optuna.db

The store decides; this is a picture of it, drawn after every few trials. The database is none of MLflow's: both keep
a table of their migrations under the same name. Limits: of trials that take over values from an earlier stage and of
later stages Optuna sees the loss alone, so that losses on different numbers of rows stand beside each other; the
stage is an attribute of the trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.errors import UserError
from tasks.training.search.sampling import distribution, to_optuna
from tasks.training.search.spec import SweepSpec
from tasks.training.trials import TrialResult

NUMBER = "number"


def mirror(url: str, name: str, spec: SweepSpec, results: Sequence[TrialResult]) -> None:
    """Add the trials that the study `name` in the database `url` lacks. Raises UserError for an unreachable one."""
    import optuna
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    direction = "minimize" if spec.minimise else "maximize"
    try:
        study = optuna.create_study(storage=url, study_name=name, direction=direction, load_if_exists=True)
    except Exception as error:  # whatever a driver raises
        raise UserError(f"Optuna's database cannot be used: {str(error).splitlines()[0]}") from None
    known = {trial.user_attrs.get(NUMBER) for trial in study.get_trials(deepcopy=False)}
    distributions = {path: distribution(parameter) for path, parameter in spec.space.items()}
    for result in results:
        if result.number in known:
            continue
        state: Any = {
            "finished": optuna.trial.TrialState.COMPLETE,
            "pruned": optuna.trial.TrialState.PRUNED,
            "failed": optuna.trial.TrialState.FAIL,
        }[result.status]
        attributes = {NUMBER: result.number, "stage": result.stage + 1, "values": result.values}
        if result.error:
            attributes["error"] = result.error
        study.add_trial(
            create_trial(
                state=state,
                params={path: to_optuna(p, result.values[path]) for path, p in spec.space.items()},
                distributions=distributions,
                value=result.objective,
                user_attrs=attributes,
            )
        )
