# evaluate: predictions or answers, one job per backbone and benchmark · count: metrics from them · overlays: pictures
# · rival: LMMs that were fine-tuned for masks


rule evaluate:
    input:
        reads("evaluate"),
    output:
        # Written last; predictions or answers lie beside it.
        "results/{suite}/{backbone}/evaluate/{benchmark}/key.json",
    log:
        "logs/{suite}/{backbone}/evaluate/{benchmark}.log",
    benchmark:
        "logs/{suite}/{backbone}/evaluate/{benchmark}.tsv"
    threads: P.train.threads
    resources:
        gpu=GPU,
    shell:
        "flmm evaluate --backbone {wildcards.backbone:q} --benchmark {wildcards.benchmark} > {log} 2>&1"


rule count:
    input:
        reads("count"),
    output:
        "results/{suite}/{backbone}/count/key.json",
        "results/{suite}/{backbone}/count/metrics.json",
    log:
        "logs/{suite}/{backbone}/count.log",
    benchmark:
        "logs/{suite}/{backbone}/count.tsv"
    shell:
        "flmm count --backbone {wildcards.backbone:q} > {log} 2>&1"


rule overlays:
    input:
        reads("overlays"),
    output:
        "results/{suite}/{backbone}/overlays/{benchmark}/key.json",
        "results/{suite}/{backbone}/overlays/{benchmark}/overlays.json",
        "results/{suite}/{backbone}/overlays/{benchmark}/conversations.json",
    log:
        "logs/{suite}/{backbone}/overlays/{benchmark}.log",
    benchmark:
        "logs/{suite}/{backbone}/overlays/{benchmark}.tsv"
    shell:
        "flmm overlays --backbone {wildcards.backbone:q} --benchmark {wildcards.benchmark} > {log} 2>&1"


rule rival:
    input:
        reads("rival"),
    output:
        # Its predictions, where it makes them here, lie beside them.
        "results/{suite}/rival/{rival}/key.json",
        "results/{suite}/rival/{rival}/metrics.json",
    log:
        "logs/{suite}/rival/{rival}.log",
    benchmark:
        "logs/{suite}/rival/{rival}.tsv"
    threads: P.train.threads
    resources:
        gpu=GPU,
    shell:
        "flmm rival --rival {wildcards.rival:q} > {log} 2>&1"
