"""Data Docs: Great Expectations' own page about a validation, as one HTML file."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

from framework.quality.gx import import_gx, quiet
from framework.quality.report import CheckReport

# Great Expectations' page takes Bootstrap, jQuery and icons from public servers. Without them its own styles still hold;
# these rules stand in for the part of Bootstrap that its layout needs. What needs scripts (folding, filters) stays open.
_EXTERNAL = re.compile(
    r"<script\b[^>]*\bsrc=[^>]*>\s*</script>|<link\b[^>]*\bhref=\"https?:[^>]*>|<img\b[^>]*\bsrc=\"https?:[^>]*>", re.IGNORECASE
)
# Ways to the other pages of a site, which this one is not part of.
_SITE = re.compile(r"<link\b[^>]*\bhref=\"\.\.[^>]*>|(?<=href=\")\.\./[^\"]*")
_STYLE = """<style>
body{font-family:system-ui,sans-serif;margin:1rem;line-height:1.5;color:#212529}
.row{display:flex;flex-wrap:wrap}.col-12,.col-md-12,.col-lg-12{flex:0 0 100%}.container-fluid{padding:0 1rem}
.navbar,.nav{display:flex;flex-wrap:wrap;list-style:none;padding:0}.breadcrumb{display:flex;list-style:none;padding:0;gap:.5rem}
table{border-collapse:collapse;margin:.5rem 0}td,th{border:1px solid #dee2e6;padding:.4rem .6rem;vertical-align:top;text-align:left}
.badge{background:#6c757d;color:#fff;border-radius:.25rem;padding:0 .4rem}.text-success{color:#28a745}.text-danger{color:#dc3545}
.alert{border:1px solid #dee2e6;border-radius:.25rem;padding:.5rem}.modal,.btn,footer{display:none}
.fa-check-circle::before{content:"\\2713"}.fa-times::before{content:"\\2717"}.fa-exclamation-triangle::before{content:"\\26A0"}
</style>"""


def data_docs(report: CheckReport, folder: Path) -> Path:
    """Write Great Expectations' page about a report to `folder`/index.html and return its path.

    The page is complete in itself: it opens without a network.
    """
    import_gx()
    with quiet():
        html = _page(report)
    html = _SITE.sub("", _EXTERNAL.sub("", html)).replace("</head>", f"{_STYLE}\n</head>", 1)
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "index.html"
    index.write_text(html, encoding="utf-8")
    return index


def _page(report: CheckReport) -> str:
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult, RunIdentifier
    from great_expectations.core.expectation_validation_result import expectationValidationResultSchema
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    good = sum(result.success for result in report.results)
    result = ExpectationSuiteValidationResult(
        success=good == len(report.results),
        results=[ExpectationValidationResult(**expectationValidationResultSchema.load(one)) for one in report.evidence],
        suite_name=report.suite,
        statistics={
            "evaluated_expectations": len(report.results),
            "successful_expectations": good,
            "unsuccessful_expectations": len(report.results) - good,
            "success_percent": 100 * good / len(report.results),
        },
        meta={"run_id": RunIdentifier(run_name=report.suite, run_time=datetime.datetime.now(datetime.UTC))},
    )
    return str(DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result)))
