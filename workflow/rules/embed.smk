# embed: the frozen SAM sees every image once, for all backbones and epochs


localrules:
    embed_manifest,


rule embed:
    input:
        samples=ancient(GROUNDING_SAMPLES),
        archives=ancient(RAW),
    output:
        "cache/embed/{segmenter}/{key}/manifest.json",
    log:
        "logs/embed/{segmenter}/{key}.log",
    retries: 1
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "flmm embed 2>&1 | tee {log}"


rule embed_manifest:
    input:
        EMBED_SHARDS,
    output:
        EMBED_MANIFEST,
    log:
        f"logs/{P.suite}/embed_manifest.log",
    shell:
        "cp {input:q} {output:q} 2> {log}"
