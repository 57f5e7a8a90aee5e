# train: one head per backbone, from the cached maps without an LMM, or with it in the loop (train.online) · import: a
# head from elsewhere instead · select: the baseline's attention heads · keywords: which words of an answer are grounded ·
# repeat: the head of another seed


rule train:
    input:
        reads("train"),
    output:
        "results/{suite}/{backbone}/train/key.json",
        "results/{suite}/{backbone}/train/head.safetensors",
        "results/{suite}/{backbone}/train/summary.json",
        "results/{suite}/{backbone}/train/curves.jsonl",
        "results/{suite}/{backbone}/train/timing.json",
    log:
        "logs/{suite}/{backbone}/train.log",
    benchmark:
        "logs/{suite}/{backbone}/train.tsv"
    wildcard_constraints:
        backbone=names(GRAPH.trained),
    # The longest jobs come first: what is left when they are done is short and fills all cores.
    priority: 1
    threads: P.train.threads
    resources:
        gpu=GPU,
    shell:
        "flmm train --backbone {wildcards.backbone:q} > {log} 2>&1"


rule import_head:
    input:
        reads("import"),
    output:
        "results/{suite}/{backbone}/train/key.json",
        "results/{suite}/{backbone}/train/head.safetensors",
        "results/{suite}/{backbone}/train/summary.json",
    log:
        "logs/{suite}/{backbone}/import.log",
    benchmark:
        "logs/{suite}/{backbone}/import.tsv"
    wildcard_constraints:
        backbone=names(name for name in P.backbones if name not in GRAPH.trained),
    shell:
        "flmm import --backbone {wildcards.backbone:q} > {log} 2>&1"


rule select:
    input:
        reads("select"),
    output:
        "results/{suite}/{backbone}/select/key.json",
        "results/{suite}/{backbone}/select/heads.json",
    log:
        "logs/{suite}/{backbone}/select.log",
    benchmark:
        "logs/{suite}/{backbone}/select.tsv"
    threads: P.train.threads
    shell:
        "flmm select --backbone {wildcards.backbone:q} > {log} 2>&1"


rule keywords:
    input:
        reads("keywords"),
    output:
        "results/{suite}/{backbone}/keywords/key.json",
        "results/{suite}/{backbone}/keywords/keywords.safetensors",
        "results/{suite}/{backbone}/keywords/scores.json",
    log:
        "logs/{suite}/{backbone}/keywords.log",
    benchmark:
        "logs/{suite}/{backbone}/keywords.tsv"
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "flmm keywords --backbone {wildcards.backbone:q} > {log} 2>&1"


rule repeat:
    input:
        reads("repeat"),
    output:
        # The head lies beside them.
        "results/{suite}/{backbone}/repeat/{seed}/key.json",
        "results/{suite}/{backbone}/repeat/{seed}/metrics.json",
    log:
        "logs/{suite}/{backbone}/repeat/{seed}.log",
    benchmark:
        "logs/{suite}/{backbone}/repeat/{seed}.tsv"
    wildcard_constraints:
        backbone=names(GRAPH.trained),
    threads: P.train.threads
    resources:
        gpu=GPU,
    shell:
        "flmm repeat --backbone {wildcards.backbone:q} --seed {wildcards.seed} > {log} 2>&1"
