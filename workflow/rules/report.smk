# report: metrics.json and the page · track: MLflow, from the result files


localrules:
    report,
    track,


rule report:
    input:
        reads("report"),
    output:
        "reports/key.json",
        "reports/metrics.json",
        "reports/headline.json",
        report("reports/headline.csv", category="Results", caption="../report/headline.rst"),
        report("reports/curves.csv", category="Results", caption="../report/curves.rst"),
        report("reports/index.html", category="Results", caption="../report/page.rst"),
    log:
        "logs/report.log",
    benchmark:
        "logs/report.tsv"
    shell:
        "flmm report > {log} 2>&1"


rule track:
    input:
        reads("track"),
    output:
        "reports/tracking.key.json",
        "reports/tracking.json",
        "reports/runs.html",
    log:
        "logs/track.log",
    benchmark:
        "logs/track.tsv"
    shell:
        "flmm track > {log} 2>&1"
