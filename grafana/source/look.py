"""How every panel and every dashboard looks, and short words for the queries.

A panel has a title, the question it answers (shown by Grafana behind the i of its corner, and in README.md), a unit,
and queries with the names of their lines. Panels flow from left to right, 24 columns wide; a row begins anew.
"""

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
ALL = 'job=~"$job",instance=~"$instance"'
WINDOW = "[$__rate_interval]"

# Quantiles of every panel with a latency, and what their lines are called.
USUAL, SLOW = 0.5, 0.99


# ---- Queries ------------------------------------------------------------------------------

def chosen(metric, only=""):
    """The metric, of what is chosen at the top of the dashboard."""
    return f"{metric}{{{ALL}{',' if only else ''}{only}}}"


def total(metric, by="", only="", how="sum"):
    """A gauge, of all or by a label."""
    return f"{how}{f' by ({by})' if by else ''} ({chosen(metric, only)})"


def rate(metric, by="", only=""):
    """A counter, per second."""
    return f"sum{f' by ({by})' if by else ''} (rate({chosen(metric, only)}{WINDOW}))"


def quantile(which, metric, by="", only=""):
    """A histogram's quantile."""
    return f"histogram_quantile({which}, {rate(metric + '_bucket', f'le, {by}' if by else 'le', only)})"


def quantiles(metric, by="", only=""):
    """What is usual and what is slow, as two queries of a panel."""
    of = f" {{{{{by}}}}}" if by else ""
    return (quantile(USUAL, metric, by, only), f"p50{of}"), (quantile(SLOW, metric, by, only), f"p99{of}")


def mean(metric, by=""):
    """A histogram of counts: its buckets are too coarse for what is usual (half an event is none)."""
    return f"{rate(metric + '_sum', by)} / ({rate(metric + '_count', by)} > 0)"


def mean_and_most(metric):
    """What is usual and what is much, as two queries of a panel."""
    return (mean(metric), "mean"), (quantile(SLOW, metric), "p99")


# ---- Panels -------------------------------------------------------------------------------

def target(number, query, legend, **more):
    return {
        "datasource": SOURCE, "refId": chr(ord("A") + number), "expr": query, "legendFormat": legend,
        "editorMode": "code", "range": True, "instant": False, **more,
    }


def thresholds(limit, is_good_above=False):
    low, high = ("red", "green") if is_good_above else ("green", "red")
    steps = [{"color": low, "value": None}]
    return {"mode": "absolute", "steps": steps + ([] if limit is None else [{"color": high, "value": limit}])}


def panel(kind, title, question, unit, queries, width, height, defaults, options):
    return {
        "type": kind, "title": title, "description": question, "datasource": SOURCE,
        "gridPos": {"x": 0, "y": 0, "w": width, "h": height},
        "targets": [target(number, query, legend) for number, (query, legend) in enumerate(queries)],
        "fieldConfig": {"defaults": {"unit": unit, "noValue": "none", **defaults}, "overrides": []},
        "options": options,
    }


def lines(title, question, unit, *queries, width=8, height=8, stacked=False, limit=None, least=0, most=None, many=False):
    """Lines over time. `limit`: a dashed line that should not be crossed. `many`: names and values stand at the right."""
    custom = {
        "drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "showPoints": "never", "spanNulls": False,
        "fillOpacity": 30 if stacked else 8, "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if limit is None else "dashed"},
    }
    if limit is not None:
        custom["axisSoftMax"] = 1.1 * limit  # so that the line is in the picture
    defaults = {"color": {"mode": "palette-classic"}, "custom": custom, "thresholds": thresholds(limit)}
    if least is not None:
        defaults["min"] = least
    if most is not None:
        defaults["max"] = most
    legend = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
    if many:
        legend = {**legend, "displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "max"], "sortBy": "Max", "sortDesc": True}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, question, unit, queries, width, height, defaults, options)


def number(title, question, unit, query, width=4, height=4, limit=None, is_good_above=False, decimals=None):
    """One number, green or red, with its course behind it."""
    defaults = {"color": {"mode": "thresholds"}, "thresholds": thresholds(limit, is_good_above)}
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {
        "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "textMode": "auto", "orientation": "auto",
        "wideLayout": True, "showPercentChange": False, "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("stat", title, question, unit, [(query, title)], width, height, defaults, options)


def heatmap(title, question, unit, metric, only="", width=12, height=8):
    """A histogram over time: the darker, the more fell into the bucket."""
    options = {
        "calculate": False, "cellGap": 1, "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "color": {"mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.5, "fill": "dark-orange",
                  "steps": 64, "reverse": False},
        "filterValues": {"le": 1e-9}, "rowsFrame": {"layout": "auto"}, "cellValues": {"unit": "reqps"},
        "yAxis": {"axisPlacement": "left", "unit": unit}, "showValue": "never", "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
    }
    one = panel("heatmap", title, question, unit, [], width, height, {"custom": {"scaleDistribution": {"type": "linear"}}}, options)
    one["targets"] = [target(0, rate(metric + "_bucket", "le", only), "{{le}}", format="heatmap")]
    return one


# ---- Dashboards ---------------------------------------------------------------------------

def row(title, *panels):
    return title, panels


def laid_out(rows):
    """Places for all panels, and their numbers."""
    out, top = [], 0
    for title, panels in rows:
        out.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}})
        left, top, tallest = 0, top + 1, 0
        for one in panels:
            place = one["gridPos"]
            if left + place["w"] > 24:
                left, top, tallest = 0, top + tallest, 0
            place["x"], place["y"] = left, top
            left, tallest = left + place["w"], max(tallest, place["h"])
            out.append(one)
        top += tallest
    for count, one in enumerate(out, 1):
        one["id"] = count
    return out


def choice(name, label, query):
    """A variable: several of what the query finds, or all of that (not everything: Prometheus has processes too)."""
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name},
        "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "regex": "",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]}, "options": [],
    }


def dashboard(name, title, what, seen_by, *rows, more=()):
    """`seen_by`: a metric that everybody has whom this dashboard is about; `more`: further variables."""
    source = {
        "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1, "regex": "",
        "current": {"selected": True, "text": "Prometheus", "value": "prometheus"}, "options": [], "hide": 0, "multi": False,
        "includeAll": False,
    }
    choices = [
        choice("job", "Program", f"label_values({seen_by}, job)"),
        choice("instance", "Instance", f'label_values({seen_by}{{job=~"$job"}}, instance)'),
        *more,
    ]
    alerts = {
        "name": "Alerts", "enable": True, "iconColor": "red", "datasource": SOURCE,
        "target": {
            "refId": "Alerts", "datasource": SOURCE, "expr": 'ALERTS{alertstate="firing"}', "legendFormat": "{{alertname}}",
        },
    }
    links = {
        "type": "dashboards", "title": "ChatChit", "tags": ["chatchit"], "asDropdown": True, "includeVars": False,
        "keepTime": True, "targetBlank": False, "icon": "dashboard", "tooltip": "the other dashboards", "url": "",
    }
    return {
        "uid": f"chatchit-{name}", "title": f"ChatChit: {title}", "description": what, "tags": ["chatchit"],
        "schemaVersion": 41, "editable": False, "graphTooltip": 1, "refresh": "10s", "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"}, "links": [links], "annotations": {"list": [alerts]},
        "templating": {"list": [source, *choices]}, "panels": laid_out(rows),
    }
