# extract: what the frozen LMMs looked at, per backbone and part, in a cache that is addressed by content · pilot: which
# attention heads and layers of it are kept, where not all are · extract_share: every n-th shard (extract.jobs)


rule pilot:
    input:
        reads("pilot"),
    output:
        "results/{suite}/{backbone}/pilot/key.json",
        "results/{suite}/{backbone}/pilot/heads.json",
    log:
        "logs/{suite}/{backbone}/pilot.log",
    benchmark:
        "logs/{suite}/{backbone}/pilot.tsv"
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "flmm pilot --backbone {wildcards.backbone:q} > {log} 2>&1"


rule extract:
    input:
        reads("extract"),
        shares,
    # The shards are in cache/extract; this is which of them the results are made from, and what DVC versions.
    output:
        "results/{suite}/{backbone}/extract/{part}.json",
    log:
        "logs/{suite}/{backbone}/extract/{part}.log",
    benchmark:
        "logs/{suite}/{backbone}/extract/{part}.tsv"
    retries: 1
    threads: THREADS
    resources:
        gpu=GPU,
    params:
        share="",
    shell:
        "flmm extract --backbone {wildcards.backbone:q} --part {wildcards.part:q} {params.share} > {log} 2>&1"


use rule extract as extract_share with:
    input:
        reads("extract"),
    # Empty: it says that the shards are there, in the folder of the part.
    output:
        touch("cache/shares/{suite}/{backbone}/{part}/{share}"),
    log:
        "logs/{suite}/{backbone}/extract/{part}-{share}.log",
    benchmark:
        "logs/{suite}/{backbone}/extract/{part}-{share}.tsv"
    wildcard_constraints:
        share=r"\d+",
    params:
        share="--share {share}",
