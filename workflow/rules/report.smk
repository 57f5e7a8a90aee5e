# report: metrics.json and the page · track: MLflow, from the result files


localrules:
    report,
    track,


rule report:
    input:
        scores=expand(
            "results/{suite}/{backbone}/evaluate/metrics.json",
            suite=P.suite,
            backbone=P.backbones,
        ),
        curves=expand(
            "results/{suite}/{backbone}/train/curves.jsonl",
            suite=P.suite,
            backbone=P.backbones,
        ),
        summary=f"data/samples/{P.suite}/summary.json",
    output:
        metrics="reports/metrics.json",
        page="reports/index.html",
    log:
        "logs/report.log",
    params:
        key=keys.step_key(P, "report"),
    shell:
        "flmm report 2>&1 | tee {log}"


rule track:
    input:
        metrics="reports/metrics.json",
        page="reports/index.html",
    output:
        "reports/tracking.json",
    log:
        "logs/track.log",
    params:
        key=keys.step_key(P, "track"),
    shell:
        "flmm track 2>&1 | tee {log}"
