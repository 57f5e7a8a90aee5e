# evaluate: one job per backbone and benchmark


localrules:
    scores,


rule evaluate:
    input:
        inputs=benchmark_inputs,
        archives=ancient(RAW),
        manifest="results/{suite}/{backbone}/extract/manifest.json",
        head="results/{suite}/{backbone}/train/head.safetensors",
    output:
        # Written last; predictions, answers and overlays lie beside it, different ones for masks and answers.
        "results/{suite}/{backbone}/evaluate/{benchmark}/metrics.json",
    log:
        "logs/{suite}/{backbone}/evaluate/{benchmark}.log",
    threads: THREADS
    resources:
        gpu=GPU,
    params:
        key=keys.step_key(P, "evaluate"),
    shell:
        "flmm evaluate --backbone {wildcards.backbone:q} --benchmark {wildcards.benchmark} 2>&1 | tee {log}"


# All records of one backbone: the one file that DVC asks for.
rule scores:
    input:
        expand(
            "results/{{suite}}/{{backbone}}/evaluate/{benchmark}/metrics.json",
            benchmark=BENCHMARKS,
        ),
    output:
        "results/{suite}/{backbone}/evaluate/metrics.json",
    log:
        "logs/{suite}/{backbone}/scores.log",
    shell:
        "flmm scores --backbone {wildcards.backbone:q} 2>&1 | tee {log}"
