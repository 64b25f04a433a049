"""What a configuration may say: typed, frozen, unknown keys are errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from framework.config.references import is_late


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, hide_input_in_errors=True)


def _only_reference(value: str) -> str:
    if not is_late(value):
        raise ValueError("a secret must be a reference: ${env:NAME}, ${file:PATH}, ${secretsmanager:NAME#KEY} or ${ssm:NAME}")
    return value


def _reference(value: str) -> str:
    if not is_late(value):
        raise ValueError("must be a number, or a reference such as ${local:postgres.port}")
    return value


def _s3_prefix(value: str) -> str:
    scheme, found, rest = value.partition("://")
    if not found or scheme not in ("s3", "s3a", "s3n", "hdfs", "file") or not rest.strip("/"):
        raise ValueError("must be a URI such as s3://bucket/prefix")
    if scheme == "file" and not rest.startswith("/"):
        raise ValueError("a file:// URI has three slashes and the whole path: file:///data/state")
    return value.rstrip("/")


Secret = Annotated[str, AfterValidator(_only_reference)]
Late = Annotated[str, AfterValidator(_reference)]
Prefix = Annotated[str, AfterValidator(_s3_prefix)]
Port = Annotated[int, Field(ge=1, le=65535)]


DEFAULT_PORTS = {"postgresql": 5432, "mysql": 3306, "opensearch": 9200}
"""Where a connection's server listens unless its entry says otherwise, by kind."""


class Connection(Section):
    """One operational system, described once for every engine.

    Attributes:
        kind: postgresql, mysql or opensearch.
        host, port: `${local:...}` in the embedded target.
        database, user: as the driver takes them; OpenSearch has no databases, and a user only where it asks for one.
        password: a reference, never the text itself.
        options: driver properties (`sslmode`, ...).
        max_connections: how many connections one run may hold.
    """

    kind: Literal["postgresql", "mysql", "opensearch"]
    host: str
    port: Port | Late | None = None
    database: str = ""
    user: str = ""
    password: Secret | None = None
    options: dict[str, str] = {}
    max_connections: Annotated[int, Field(ge=1, le=64)] = 4

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in ("database", "user") if self.kind != "opensearch" and not getattr(self, name)]
        if missing:
            raise ValueError(f"kind {self.kind} needs {' and '.join(missing)}")
        return self


class Catalog(Section):
    """Where table names are resolved.

    Attributes:
        kind: glue (AWS Glue Data Catalog) or hive (a Hive metastore).
        warehouse: prefix under which new databases and tables lie.
        uri: of the metastore, `thrift://host:9083`; used with kind hive only.
        hive_warehouse: what `warehouse` is with kind hive, in an environment that has both catalogs: two catalogs must not keep
            tables in one folder, where the cleaning up of one would remove files of the other.
    """

    kind: Literal["glue", "hive"] = "glue"
    warehouse: Prefix
    uri: str | None = None
    hive_warehouse: Prefix | None = None

    @model_validator(mode="before")
    @classmethod
    def _warehouse_of_kind(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("kind") == "hive" and data.get("hive_warehouse"):
            return {**data, "warehouse": data["hive_warehouse"]}
        return data

    @model_validator(mode="after")
    def _has_address(self) -> Self:
        if self.kind == "hive" and not self.uri:
            raise ValueError("kind hive needs the address of the metastore: uri: thrift://host:9083")
        return self


class Aws(Section):
    """How AWS is reached. Everything unset: boto3's own rules (profile, role, region).

    Attributes:
        region: such as eu-west-1.
        endpoint_url: one URL for every service except S3.
        s3_endpoint_url: URL of the S3 API.
        access_key_id, secret_access_key: references.
        session_token: reference; goes with the keys of a role session.
    """

    region: str = "us-east-1"
    endpoint_url: str | None = None
    s3_endpoint_url: str | None = None
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None


class Spark(Section):
    """Spark on this machine.

    Attributes:
        driver_memory: heap of the driver, as Spark writes it (2g).
        cores: threads that run tasks; `*` takes all.
        warm: keep the driver's JVM between runs.
        conf: further Spark properties.
    """

    driver_memory: Annotated[str, Field(pattern=r"^\d+[kmg]$")] = "2g"
    cores: Annotated[int, Field(ge=1)] | Literal["*"] = "*"
    warm: bool = True
    conf: dict[str, str] = {}


class Trino(Section):
    """Trino.

    Attributes:
        heap: heap of the server on this machine, as Java writes it (2g).
        url: the coordinator of a server that is there already; unset in the embedded target, which starts its own.
        user: whom queries run as.
    """

    heap: Annotated[str, Field(pattern=r"^\d+[kmg]$")] = "2g"
    url: str | None = None
    user: str = "emrjobs"


class Presto(Section):
    """PrestoDB, which only the local services have.

    Attributes:
        heap: heap of the server on this machine, as Java writes it (2g).
        user: whom queries run as.
    """

    heap: Annotated[str, Field(pattern=r"^\d+[kmg]$")] = "2g"
    user: str = "emrjobs"


class Hdfs(Section):
    """What `hdfs:///path` is a path of. Everything unset: of the cluster's own file system, which its nodes know by themselves.

    Attributes:
        uri: of the NameNode, `hdfs://host:8020`.
        web: WebHDFS, `http://host:9870`: inputs are looked at there before an engine is asked to read them.
        core_site: a core-site.xml on the machine that Trino runs on, whose fs.defaultFS is the same file system.
    """

    uri: str | None = None
    web: str | None = None
    core_site: str | None = None


class Lineage(Section):
    """OpenLineage events of every run: to a file, to a receiver, or to nobody when neither is set.

    Attributes:
        file: events are appended to it, one JSON object a line; relative to the project.
        url: of a receiver; events go to `api/v1/lineage` there.
        api_key: reference; sent as bearer token.
        namespace: of the jobs.
        account: id of the AWS account of the Glue catalog, which is in its tables' names; a run that has none asks STS.
    """

    file: str | None = None
    url: str | None = None
    api_key: Secret | None = None
    namespace: Annotated[str, Field(min_length=1)] = "emrjobs"
    account: Annotated[str, Field(pattern=r"^\d{12}$")] | None = None


class Local(Section):
    """The services of the embedded target.

    Attributes:
        services: those that a run needs.
        seed: `module:function` that loads the sample data when it is not there yet.
    """

    services: list[str] = ["s3", "aws", "postgres"]
    seed: str | None = None


class SecurityGroups(Section):
    """Security groups of a cluster's nodes; unset ones are made by EMR.

    Attributes:
        primary, core: EMR-managed groups of the primary node, and of core and task nodes.
        service_access: group through which EMR reaches nodes in a private subnet.
        additional: groups that every node gets beside its own.
    """

    primary: str | None = None
    core: str | None = None
    service_access: str | None = None
    additional: list[str] = []


class Emr(Section):
    """The account that clusters are started in. What a cluster looks like is a preset in configs/clusters/.

    Attributes:
        cluster: preset that a submit uses when it names none.
        artifacts: prefix for code and dependencies; `<state>/artifacts` when unset.
        logs: EMR's log URI; `<state>/emr-logs` when unset.
        subnets: VPC subnets; EMR picks one (several need instance fleets).
        service_role, instance_profile: names or ARNs.
        runtime_role: ARN that steps run as; needs a security configuration that allows runtime roles.
        security_configuration: name of one that exists in the account.
        kms_key: ARN of the key for EMR's logs.
        ec2_key: EC2 key pair for SSH; none opens no door.
        tags: on every cluster.
        python: of the cluster, where dependencies are meant to run.
    """

    cluster: str = "transient_spot"
    artifacts: Prefix | None = None
    logs: Prefix | None = None
    subnets: list[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")]] = []
    service_role: str | None = None
    instance_profile: str | None = None
    runtime_role: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+")] | None = None
    security_groups: SecurityGroups = SecurityGroups()
    security_configuration: str | None = None
    kms_key: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:(key|alias)/.+")] | None = None
    ec2_key: str | None = None
    tags: dict[str, str] = {}
    python: Annotated[str, Field(pattern=r"^3\.\d+$")] = "3.11"


class Settings(Section):
    """One environment, merged from all its sources.

    Attributes:
        target: what runs the jobs: embedded (this machine) or emr (inside a step on a cluster).
        release: EMR release whose versions are meant.
        state: prefix for run records and logs.
        paths: names that jobs use in `Path("{name}/...")`.
    """

    target: Literal["embedded", "emr"] = "embedded"
    release: str = "emr-7.12.0"
    state: Prefix
    paths: dict[str, Prefix] = {}
    catalog: Catalog
    aws: Aws = Aws()
    connections: dict[str, Connection] = {}
    spark: Spark = Spark()
    trino: Trino = Trino()
    presto: Presto = Presto()
    hdfs: Hdfs = Hdfs()
    lineage: Lineage = Lineage()
    local: Local = Local()
    emr: Emr = Emr()
