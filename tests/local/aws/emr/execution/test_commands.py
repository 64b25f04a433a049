"""Commands of Hadoop, Hive, Pig and Trino on a local node."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.local.aws.emr.execution.commands import hadoop, hive, trino

from .builders import node, step
from .conftest import Cluster

MAPPER = "#!/usr/bin/env python3\nimport sys\nfor line in sys.stdin:\n    for word in line.split():\n        print(word, 1, sep='\\t')\n"
REDUCER = (
    "#!/usr/bin/env python3\nimport sys\nfrom collections import Counter\n"
    "words = Counter(line.split('\\t')[0] for line in sys.stdin)\nfor word in sorted(words):\n    print(word, words[word], sep='\\t')\n"
)


def test_hives_options_become_those_of_spark_sql(tmp_path: Path) -> None:
    args = ["-S", "-f", "s3://b/q.hql", "-d", "X=1", "-hiveconf", "hive.x=y", "--hivevar=Z=2"]
    assert hive.arguments(node(tmp_path), args) == ["-S", "-f", "s3://b/q.hql", "-d", "X=1", "--hiveconf", "hive.x=y", "--hivevar", "Z=2"]


def test_an_interactive_hive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no terminal"):
        hive.arguments(node(tmp_path), [])


def test_a_script_runner_takes_what_follows_its_args() -> None:
    assert hive.after_args(["--run-hive-script", "--hive-versions", "latest", "--args", "-f", "x"]) == ["-f", "x"]


def test_streaming_paths_without_a_file_system_lie_on_hdfs() -> None:
    found = hadoop.on_hdfs(["-input", "in", "-output", "/out", "-mapper", "cat", "-input", "s3://b/x"])
    assert found == ["-input", "hdfs:///user/hadoop/in", "-output", "hdfs:///out", "-mapper", "cat", "-input", "s3://b/x"]


def test_trino_statements_are_cut_at_their_own_semicolons() -> None:
    assert trino._statements("select ';' ; -- a; b\nselect 2;") == ["select ';'", "-- a; b\nselect 2"]


def test_trino_needs_something_to_execute() -> None:
    with pytest.raises(UserError, match="no terminal"):
        trino.options(["--catalog", "hive"])


@pytest.mark.services
@pytest.mark.slow
def test_streaming_runs_programs_over_s3_and_will_not_write_twice(cluster: Cluster) -> None:
    cluster.put("stream/in/a.txt", "a b\na\n")
    mapper, reducer = cluster.put("stream/map.py", MAPPER), cluster.put("stream/reduce.py", REDUCER)
    args = ("-files", f"{mapper},{reducer}", "-mapper", "map.py", "-reducer", "reduce.py")
    args = ("hadoop-streaming", *args, "-input", "s3://bucket/stream/in", "-output", "s3://bucket/stream/out")
    outcome = cluster.run(step(*args))
    assert outcome.succeeded, outcome.message
    assert cluster.get("stream/out/part-00000") == b"a\t2\nb\t1\n"
    assert "map 100% reduce 100%" in cluster.log("s-1", "syslog")
    assert cluster.run(step(*args, work_id="s-2")).reason == "Output directory already exists."


@pytest.mark.services
@pytest.mark.slow
def test_a_custom_jar_from_s3_runs_its_main_class_with_its_arguments_and_properties(cluster: Cluster) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as jar:
        # A class that is on Hadoop's class path saves a compiler.
        jar.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\nMain-Class: org.apache.hadoop.fs.FsShell\n")
    cluster.s3.put_object(Bucket="bucket", Key="jars/own.jar", Body=packed.getvalue())
    cluster.put("jars/in/a.txt", "from s3\n")
    work = step("-cat", "s3://bucket/jars/in/a.txt", jar="s3://bucket/jars/own.jar", properties={"java.net.preferIPv4Stack": "true"})
    outcome = cluster.run(work)
    assert outcome.succeeded, cluster.log("s-1", "stderr")
    assert cluster.log("s-1", "stdout") == "from s3\n"
    assert "hadoop jar s3://bucket/jars/own.jar -cat s3://bucket/jars/in/a.txt" in cluster.log("s-1", "controller")


HIVE_TABLES = """
CREATE EXTERNAL TABLE words (w string) LOCATION '${IN}';
CREATE TABLE counts AS SELECT w, count(*) AS n FROM words GROUP BY w;
CREATE TABLE kept (w string, n int);
INSERT INTO kept VALUES ('old', 1);
INSERT OVERWRITE TABLE kept SELECT w, n FROM counts;
INSERT INTO TABLE kept SELECT '${hivevar:MORE}', 3;
CREATE EXTERNAL TABLE shared (w string) LOCATION 'hdfs:///shared';
INSERT INTO shared SELECT w FROM counts WHERE n > 1;
CREATE EXTERNAL TABLE lake (w string, n int) ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' LOCATION '${OUT}';
INSERT OVERWRITE TABLE lake SELECT w, n FROM kept WHERE n = 2;
DROP TABLE counts;
"""


@pytest.mark.services
@pytest.mark.slow
def test_a_hive_scripts_tables_last_as_long_as_its_cluster(cluster: Cluster) -> None:
    site = {"Classification": "core-site", "Properties": {"of.the.cluster": "yes"}}
    cluster.executor.prepare(type(cluster.spec)(**{**vars(cluster.spec), "configurations": [site]}))
    cluster.put("hive/in/a.txt", "a\nb\na\n")
    uri = cluster.put("hive/q.hql", HIVE_TABLES)
    given = ("-d", "IN=s3://bucket/hive/in/", "-d", "OUT=s3://bucket/hive/out/", "-hivevar", "MORE=c")
    outcome = cluster.run(step("hive-script", "--run-hive-script", "--args", "-f", uri, *given))
    assert outcome.succeeded, cluster.log("s-1", "stderr")
    assert "Spark SQL runs this HiveQL in the place of Hive" in cluster.log("s-1", "stderr")
    written = cluster.s3.list_objects_v2(Bucket="bucket", Prefix="hive/out/")["Contents"]
    assert b"".join(cluster.get(item["Key"]) for item in written) == b"a,2\n"
    asked = "SELECT concat('table ', '${hivevar:T}'); SELECT w, n FROM kept ORDER BY w; SELECT w FROM shared"
    outcome = cluster.run(step("spark-sql", "--master", "yarn", "--hivevar", "T=kept", "-e", asked, work_id="s-2"))
    assert outcome.succeeded, cluster.log("s-2", "stderr")
    assert cluster.log("s-2", "stdout") == "table kept\na\t2\nb\t1\nc\t3\na\n"
    asked = "hadoop fs -ls / /user/hive/warehouse && hadoop org.apache.hadoop.conf.Configuration"
    assert cluster.run(step("bash", "-c", asked, work_id="s-3")).succeeded
    assert "<name>of.the.cluster</name><value>yes</value>" in cluster.log("s-3", "stdout")
    listed = [line.split()[-1] for line in cluster.log("s-3", "stdout").splitlines() if "rwx" in line]
    assert listed == ["/shared", "/tmp", "/user", "/user/hive/warehouse/kept"]


@pytest.mark.services
@pytest.mark.slow
def test_a_pig_script_runs(cluster: Cluster) -> None:
    cluster.put("pig/in/a.txt", "a b\na\n")
    text = (
        "a = LOAD '$INPUT' AS (l:chararray); b = FOREACH a GENERATE FLATTEN(TOKENIZE(l)) AS w; c = GROUP b BY w;"
        " d = FOREACH c GENERATE group, COUNT(b); STORE d INTO '$OUTPUT';"
    )
    spec = type(cluster.spec)(**{**vars(cluster.spec), "applications": ["Pig"]})
    cluster.executor.prepare(spec)
    uri = cluster.put("pig/q.pig", text)
    given = ("-p", "INPUT=s3://bucket/pig/in", "-p", "OUTPUT=s3://bucket/pig/out")
    outcome = cluster.run(step("pig-script", "--run-pig-script", "--args", "-f", uri, *given))
    assert outcome.succeeded, cluster.log("s-1", "stderr")
    assert cluster.get("pig/out/part-r-00000") == b"a\t2\nb\t1\n"
