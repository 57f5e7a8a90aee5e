# generate (a suite with a generator) · download · prepare


localrules:
    digests,


if P.active.generate:

    rule generate:
        output:
            [name for source in SOURCES for name in mirrored(source)],
        log:
            f"logs/{P.suite}/generate.log",
        params:
            key=keys.step_key(P, "generate"),
            out=lambda wildcards, output: str(Path(output[0]).parent),
            train_images=P.active.generate.train_images,
            evaluation_images=P.active.generate.evaluation_images,
            seed=P.seed,
        shell:
            "flmm shapes generate --out {params.out} --train-images {params.train_images} "
            "--evaluation-images {params.evaluation_images} --seed {params.seed} 2>&1 | tee {log}"


rule download:
    input:
        lambda wildcards: mirrored(wildcards.source),
    # The record beside the file (<source>.json) is no output: Snakemake deletes outputs before it runs a rule again,
    # and with it the sum of the first download, which every later one must equal.
    output:
        "data/raw/{suite}/{source}",
    log:
        "logs/{suite}/download/{source}.log",
    params:
        key=lambda wildcards: keys.source_key(P, wildcards.source),
    shell:
        "flmm download --source {wildcards.source:q} 2>&1 | tee {log}"


# Archives are too big for a version cache; their checksums are what DVC versions.
rule digests:
    input:
        RAW,
    output:
        expand("results/{suite}/download/{source}.json", suite=P.suite, source=SOURCES),
    log:
        f"logs/{P.suite}/digests.log",
    params:
        records=[f"{path}.json" for path in RAW],
        folder=lambda wildcards, output: str(Path(output[0]).parent),
    shell:
        "cp {params.records:q} {params.folder}/ 2> {log}"


rule prepare:
    input:
        archives=ancient(RAW),  # their content is in the digests
        digests=expand("results/{suite}/download/{source}.json", suite=P.suite, source=SOURCES),
    output:
        SAMPLES,
    log:
        f"logs/{P.suite}/prepare.log",
    params:
        key=keys.step_key(P, "prepare"),
    shell:
        "flmm prepare 2>&1 | tee {log}"
