# generate (a suite with a generator) · download · digest · prepare


localrules:
    digest,


if P.active.generate:

    rule generate:
        input:
            reads("generate"),
        output:
            outputs(GRAPH, GENERATE),
        log:
            f"logs/{P.suite}/generate.log",
        benchmark:
            f"logs/{P.suite}/generate.tsv"
        shell:
            "flmm generate > {log} 2>&1"


rule download:
    input:
        reads("download"),
    # The record beside the file (<source>.json) is no output: Snakemake deletes outputs before it runs a rule again,
    # and with it the sum of the first download, which every later one must equal.
    output:
        "data/raw/{suite}/{source}",
    log:
        "logs/{suite}/download/{source}.log",
    benchmark:
        "logs/{suite}/download/{source}.tsv"
    shell:
        "flmm download --source {wildcards.source:q} > {log} 2>&1"


# Archives are too big for a version cache; their checksums are what DVC versions.
rule digest:
    input:
        reads("digest"),
    output:
        "results/{suite}/download/{source}.json",
    log:
        "logs/{suite}/digest/{source}.log",
    benchmark:
        "logs/{suite}/digest/{source}.tsv"
    shell:
        "flmm digest --source {wildcards.source:q} > {log} 2>&1"


rule prepare:
    input:
        reads("prepare"),
    output:
        "data/samples/{suite}/{part}.key.json",
        "data/samples/{suite}/{part}.json",
        "data/samples/{suite}/{part}.parquet",
    log:
        "logs/{suite}/prepare/{part}.log",
    benchmark:
        "logs/{suite}/prepare/{part}.tsv"
    shell:
        "flmm prepare --part {wildcards.part:q} > {log} 2>&1"
