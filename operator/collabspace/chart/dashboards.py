"""The pages as Grafana's JSON, built with its own SDK. For `make generate` alone: nothing that runs imports this."""

from collections.abc import Iterator

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import BarGaugeDisplayMode, VizOrientation
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, Threshold, ThresholdsMode

from collabspace.chart.pages import PAGES
from collabspace.chart.panels import Page, Panel, Show

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "collabspace"
HEIGHT = {Show.STAT: 4, Show.LINES: 8, Show.BARS: 8}
TEAMS = "label_values(collabspace_tasks, team)"


def texts() -> Iterator[tuple[str, str]]:
    """File name and JSON of each page."""
    for page in PAGES:
        yield f"{page.name}.json", JSONEncoder(sort_keys=True, indent=1).encode(_page(page)) + "\n"


def _page(page: Page) -> model.Dashboard:
    built = (
        dashboard.Dashboard(page.title)
        .uid(f"collabspace-{page.name}")
        .tags([TAG])
        .readonly()
        .refresh("30s")
        .time("now-3h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Collabspace")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(False)
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    if any("$team" in panel.expr for panel in page.panels):
        teams = dashboard.QueryVariable("team").label("Team").datasource(SOURCE).query(TEAMS)
        built.with_variable(
            teams.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True).include_all(True).all_value(".*")
        )
    for panel in page.panels:
        built.with_panel(_panel(panel))
    return built.build()


def _panel(panel: Panel) -> stat.Panel | bargauge.Panel | timeseries.Panel:
    query = prometheus.Dataquery().ref_id("A").expr(panel.expr).legend_format(panel.legend or panel.title)
    built: stat.Panel | bargauge.Panel | timeseries.Panel
    if panel.show is Show.LINES:
        built = timeseries.Panel().fill_opacity(10).legend(common.VizLegendOptions().show_legend(bool(panel.legend)))
        query = query.range()
    elif panel.show is Show.BARS:
        built = bargauge.Panel().orientation(VizOrientation.HORIZONTAL).display_mode(BarGaugeDisplayMode.BASIC)
        query = query.instant()
    else:
        built, query = stat.Panel(), query.instant()
    built = built.title(panel.title).description(panel.help).datasource(SOURCE).unit(panel.unit)
    if panel.bad is not None:
        built = built.thresholds(_thresholds(panel.bad, low=panel.low_is_bad))
    return built.span(panel.width).height(HEIGHT[panel.show]).with_target(query)


def _thresholds(bad: float, *, low: bool) -> dashboard.ThresholdsConfig:
    first, then = ("red", "green") if low else ("green", "red")
    steps = [Threshold(value=None, color=first), Threshold(value=bad, color=then)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
