# embed: the frozen SAM sees every image of an archive once, for all backbones and epochs


rule embed:
    input:
        reads("embed"),
    # The shards are in cache/embed, as those of extract.
    output:
        "results/{suite}/embed/{archive}.json",
    log:
        "logs/{suite}/embed/{archive}.log",
    benchmark:
        "logs/{suite}/embed/{archive}.tsv"
    retries: 1
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "flmm embed --archive {wildcards.archive:q} > {log} 2>&1"
