# extract: what the frozen LMMs looked at, per backbone and part, in a cache that is addressed by content


localrules:
    manifest,


rule extract:
    input:
        # The folder's key stands for the samples' content, so a newer date alone starts no GPU work.
        samples=ancient(f"data/samples/{P.suite}/{{part}}.parquet"),
        archives=ancient(RAW),
    output:
        "cache/extract/{backbone}/{key}/{part}/manifest.json",
    log:
        "logs/extract/{backbone}/{key}/{part}.log",
    retries: 1
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "flmm extract --backbone {wildcards.backbone:q} --part {wildcards.part:q} 2>&1 | tee {log}"


# What DVC versions of the maps: the small deterministic manifests of all parts.
rule manifest:
    input:
        lambda wildcards: extracted(wildcards.backbone, GROUNDING),
    output:
        "results/{suite}/{backbone}/extract/manifest.json",
    log:
        "logs/{suite}/{backbone}/manifest.log",
    priority: 1  # its training waits for nothing else, and trainings come first
    shell:
        "flmm manifest --backbone {wildcards.backbone:q} 2>&1 | tee {log}"
