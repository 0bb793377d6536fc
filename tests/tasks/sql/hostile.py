"""Statements meant to harm: write, reach files, hang, eat memory, crash, or hide another statement.

`ATTACKS` maps a name to the statement and the statuses it may end with when it is the prediction for a reading gold on
`SCHEMA` and `SETUP`. "ok" stands where a statement is harmless once the guard is there. Statements that SQLite cannot
stop at its deadline are in `UNSTOPPABLE`: only a killed process ends them.
"""

from __future__ import annotations

SCHEMA = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)"
SETUP = "INSERT INTO t VALUES (1, 'x'), (2, 'y')"

_FORBIDDEN = {"forbidden"}
_NO_SUCH = {"sql_error", "schema_error", "forbidden"}
_SYNTAX = {"syntax_error"}
_TWO = {"multiple_statements"}
_SPENT = {"timeout", "resource_limit"}
_COUNT = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
_THOUSAND = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 1000) "
_MANY = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 100000) "

WRITES = {
    "insert": "INSERT INTO t VALUES (9, 'z')",
    "replace": "REPLACE INTO t VALUES (1, 'z')",
    "upsert": "INSERT INTO t VALUES (1, 'z') ON CONFLICT DO UPDATE SET b = 'z'",
    "update": "UPDATE t SET b = 'z'",
    "delete returning": "DELETE FROM t RETURNING a",
    "with delete": "WITH x AS (SELECT 1) DELETE FROM t",
    "drop": "DROP TABLE t",
    "drop in capitals after a comment": "/* SELECT */ -- SELECT\n DROP TABLE IF EXISTS t",
    "create": "CREATE TABLE u (a)",
    "create as": "CREATE TABLE u AS SELECT * FROM t",
    "temp table that shadows": "CREATE TEMP TABLE t AS SELECT 1 AS a WHERE 0",
    "temp view that shadows": "CREATE TEMP VIEW t AS SELECT 1",
    "temp trigger": "CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM t; END",
    "virtual table": "CREATE VIRTUAL TABLE f USING fts5(a)",
    "rtree": "CREATE VIRTUAL TABLE f USING rtree(a, b, c)",
    "alter": "ALTER TABLE t ADD COLUMN c",
    "catalogue": "UPDATE sqlite_master SET sql = 'x'",
    "reindex": "REINDEX",
    "analyze": "ANALYZE",
}
FILES = {
    "attach": "ATTACH 'evil.db' AS evil",
    "attach a uri": "ATTACH 'file:evil.db?mode=rwc' AS evil",
    "attach in memory": "ATTACH ':memory:' AS evil",
    "attach after a comment": "/* hi */ attach database 'evil.db' as evil",
    "attach a secret": "ATTACH '/etc/passwd' AS evil",
    "detach": "DETACH main",
    "vacuum": "VACUUM",
    "vacuum into": "VACUUM INTO 'evil.db'",
    "load_extension": "SELECT load_extension('/lib/evil.so')",
    "load_extension in where": "SELECT 1 FROM t WHERE load_extension('/lib/evil.so', 'main') IS NULL",
    "tokenizer": "SELECT fts3_tokenizer('simple', x'00')",
    "readfile": "SELECT readfile('/etc/passwd')",
    "writefile": "SELECT writefile('evil.db', 'x')",
    "edit": "SELECT edit('x', 'sh')",
    "fsdir": "SELECT * FROM fsdir('/')",
    "csv": "SELECT * FROM csv('/etc/passwd')",
    "zipfile": "SELECT * FROM zipfile('evil.zip')",
    "pages": "SELECT data FROM sqlite_dbpage",
}
SETTINGS = {
    "journal": "PRAGMA journal_mode = WAL",
    "heap": "PRAGMA hard_heap_limit = 1000",
    "query_only": "PRAGMA query_only = 0",
    "temp folder": "PRAGMA temp_store_directory = '/tmp'",
    "hidden pragma": "-- x\n/**/ PRAGMA writable_schema = 1",
    "pragma function": "SELECT * FROM pragma_table_info('t')",
    "pragma list": "SELECT * FROM pragma_database_list",
    "begin": "BEGIN EXCLUSIVE",
    "savepoint": "SAVEPOINT s",
    "commit": "COMMIT",
    "explain": "EXPLAIN SELECT 1",
    "explain hidden": "/**/EXPLAIN QUERY PLAN SELECT 1",
}
SEVERAL = {
    "two": ("SELECT 1; SELECT 2", _TWO),
    "drop second": ("SELECT 1; DROP TABLE t", _TWO),
    "drop after a comment": ("SELECT 1 /* ; */ ; /* x */ DROP TABLE t", _TWO),
    "drop on the next line": ("SELECT 1; -- done\nDROP TABLE t", _TWO),
    "drop after a lone quote": ("SELECT '''; -- ' ; DROP TABLE t", _TWO),
    "drop after a name": ('SELECT ";" ; DROP TABLE t', _TWO),
    "drop after a nul": ("SELECT 1;\x00DROP TABLE t", _SYNTAX | _TWO),
    "drop in an open comment": ("SELECT 1 /* ; DROP TABLE t", {"ok"}),
    "empty second": ("SELECT 1;;", {"ok"} | _TWO),
    "only comments": ("-- DROP TABLE t", _SYNTAX),
    "nothing": ("", _SYNTAX),
    "prose": ("Sure! Here is the query: DROP TABLE t;", _SYNTAX),
    "surrogate": ("SELECT '\ud800'", _SYNTAX),
    "not a name": ("SELECT “a” FROM t", {"schema_error"}),
}
BOMBS = {
    "recursion": _COUNT + "SELECT count(*) FROM c",
    "endless rows": _COUNT + "SELECT x FROM c",
    "endless rows that never come": _COUNT + "SELECT x FROM c WHERE x < 0",
    "cross join": _THOUSAND + "SELECT count(*) FROM c a, c b, c d WHERE a.x + b.x + d.x = 7",
    "cross join of the table": "SELECT count(*) FROM " + ", ".join(f"t t{i}" for i in range(60)),
    "sort": _COUNT + "SELECT x FROM c ORDER BY x % 9",
    "distinct": _COUNT + "SELECT DISTINCT x FROM c",
    "group": _COUNT + "SELECT x, count(*) FROM c GROUP BY x",
    "window": _MANY + "SELECT sum(x) OVER (ORDER BY x ROWS BETWEEN 50000 PRECEDING AND 50000 FOLLOWING) FROM c",
    "correlated": _MANY + "SELECT (SELECT count(*) FROM c AS d WHERE d.x > c.x) FROM c",
    "zeroblob": "SELECT hex(zeroblob(400000000))",
    "zeroblob 2 GB": "SELECT zeroblob(2147483647)",
    "hex of hex": "SELECT hex(hex(hex(zeroblob(3000000))))",
    "randomblob": "SELECT randomblob(1000000000)",
    "many blobs": _MANY + "SELECT randomblob(4000000) FROM c",
    "sorted blobs": _MANY + "SELECT randomblob(4000000) AS r FROM c ORDER BY r",
    "wide blobs": "SELECT " + ", ".join(["hex(zeroblob(4000000))"] * 1500),
    "quote": "SELECT quote(zeroblob(100000000))",
    "printf rows": _MANY + "SELECT printf('%8000000d', x) FROM c",
    "replace": "SELECT replace(replace(hex(zeroblob(4000)), '0', hex(zeroblob(4000))), '0', hex(zeroblob(4000)))",
    "concatenate": "WITH RECURSIVE c(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM c) SELECT length(s) FROM c",
    "group_concat": _THOUSAND + "SELECT group_concat(hex(zeroblob(1000000))) FROM c",
    "json array": _MANY + "SELECT json_group_array(hex(zeroblob(100000))) FROM c",
    "like rows": _MANY + "SELECT count(*) FROM c WHERE printf('%20000d', x) LIKE '%1%2%3%4%5%6%7%8%9%x'",
    "glob rows": _MANY + "SELECT count(*) FROM c WHERE printf('%20000d', x) GLOB '*1*2*3*4*5*6*7*8*9*x'",
    "like pattern": "SELECT 'a' LIKE printf('%60000d', 1)",
    "long": "SELECT '" + "x" * 300_000 + "'",
    "deep parentheses": "SELECT " + "(" * 50_000 + "1" + ")" * 50_000,
    "deep sum": "SELECT " + "+".join(["1"] * 40_000),
    "deep subqueries": "SELECT " + "(SELECT " * 5000 + "1" + ")" * 5000,
    "deep case": "SELECT " + "CASE WHEN 1 THEN " * 3000 + "1" + " END" * 3000,
    "deep not": "SELECT " + "NOT " * 40_000 + "1",
    "nested tables": "WITH "
    + ", ".join([f"c{i} AS (SELECT * FROM c{i - 1} a, c{i - 1} b)" if i else "c0 AS (SELECT 1)" for i in range(20)])
    + " SELECT * FROM c19",
    "columns": "SELECT " + ", ".join(["1"] * 5000),
    "unions": "SELECT 1" + " UNION ALL SELECT 1" * 5000,
    "joins": "SELECT 1 FROM " + ", ".join(f"t t{i}" for i in range(100)),
    "values": "VALUES " + ", ".join(f"({i})" for i in range(20_000)),
}
HARMLESS_SHAPES = {
    "char": "SELECT char(" + ",".join(["65"] * 50_000) + ")",
    "printf precision": "SELECT printf('%.2000000000f', 1.5)",
    "printf width": "SELECT printf('%2000000000d', 1)",
    "json depth": "SELECT json('" + "[" * 50_000 + "')",
    "in list": "SELECT a FROM t WHERE a IN (" + ", ".join(map(str, range(20_000))) + ")",
    "overflow": "SELECT abs(-9223372036854775808)",
    "raise": "SELECT raise(ABORT, 'x')",
    "unknown function": "SELECT sleep(100)",
    "regexp": "SELECT 'aaaaaaaaaaaaaaaaaaaaaaaaaaaa!' REGEXP '(a+)+$'",
    "match": "SELECT a FROM t WHERE b MATCH 'x'",
}
UNSTOPPABLE = {
    "printf star": "SELECT printf('%.*c', 2000000000, 'x')",
    "instr": "SELECT instr(hex(zeroblob(4000000)), hex(zeroblob(1999999)) || '1')",
    "replace one opcode": "SELECT length(replace(hex(zeroblob(4000000)), hex(zeroblob(1999999)) || '1', 'x'))",
    "like one opcode": "SELECT hex(zeroblob(4000000)) LIKE '%' || substr(hex(zeroblob(30000)), 1, 49000) || '1'",
}

ATTACKS: dict[str, tuple[str, set[str]]] = {
    **{name: (sql, _FORBIDDEN | {"sql_error"} if name == "catalogue" else _FORBIDDEN) for name, sql in WRITES.items()},
    **{name: (sql, _FORBIDDEN | _NO_SUCH) for name, sql in FILES.items()},
    **{name: (sql, _FORBIDDEN) for name, sql in SETTINGS.items()},
    **SEVERAL,
    **{name: (sql, _SPENT) for name, sql in BOMBS.items()},
    **{name: (sql, {"ok", "sql_error", "syntax_error", "schema_error"}) for name, sql in HARMLESS_SHAPES.items()},
}
