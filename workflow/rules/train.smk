# train: one head per backbone, from the cached maps; no LMM is loaded


rule train:
    input:
        manifest="results/{suite}/{backbone}/extract/manifest.json",
        embed=EMBED_MANIFEST,
        shards=lambda wildcards: extracted(wildcards.backbone, TRAIN_PARTS) + [EMBED_SHARDS],
    output:
        head="results/{suite}/{backbone}/train/head.safetensors",
        curves="results/{suite}/{backbone}/train/curves.jsonl",
        summary="results/{suite}/{backbone}/train/summary.json",
        timing="results/{suite}/{backbone}/train/timing.json",
    log:
        "logs/{suite}/{backbone}/train.log",
    # The longest jobs come first: what is left when they are done is short and fills all cores.
    priority: 1
    threads: TRAIN_THREADS
    resources:
        gpu=GPU,
    params:
        key=keys.step_key(P, "train"),
    shell:
        "flmm train --backbone {wildcards.backbone:q} 2>&1 | tee {log}"
