//! The form of a board in Grafana 10 and later (schema 39).

use serde_json::{Map, Value, json};

use super::{Board, Panel, Query, Row, panel::Kind, with_variables};
use crate::observe::runbook_url;

const SCHEMA: u32 = 39;

/// Columns of a row.
const COLUMNS: u32 = 24;

/// The page that lists all alerts with their runbooks.
const ALERTS: &str =
    "https://github.com/heliograph-relay/heliograph/blob/main/docs/operate/alerts.md";

pub(super) fn board(board: &Board) -> Value {
    json!({
        "annotations": { "list": annotations() },
        "description": board.description,
        "editable": true,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "id": null,
        "links": [
            {
                "type": "dashboards", "title": "Boards", "tags": ["heliograph"], "asDropdown": false,
                "includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link",
                "tooltip": "", "url": ""
            },
            {
                "type": "link", "title": "Alerts and runbooks", "url": ALERTS, "targetBlank": true,
                "icon": "doc", "tooltip": "", "tags": [], "asDropdown": false, "includeVars": false,
                "keepTime": false
            }
        ],
        "liveNow": false,
        "panels": panels(&board.rows),
        "refresh": "30s",
        "schemaVersion": SCHEMA,
        "tags": ["heliograph"],
        "templating": { "list": variables(board) },
        "time": { "from": "now-3h", "to": "now" },
        "timepicker": {},
        "timezone": "",
        "title": board.title,
        "uid": board.uid,
        "version": 1,
        "weekStart": ""
    })
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn annotations() -> Value {
    let annotation = |name, color, expression: &str, title, text, at_value| {
        json!({
            "name": name, "datasource": source(), "enable": true, "hide": false, "iconColor": color,
            "expr": with_variables(expression), "titleFormat": title, "textFormat": text,
            "tagKeys": "", "step": "60s", "useValueForTime": at_value
        })
    };
    json!([
        annotation(
            "Alerts",
            "red",
            r#"ALERTS{alertname=~"Heliograph.+", alertstate="firing"}"#,
            "{{alertname}} ({{severity}})",
            "{{instance}} {{slo}} {{cause}}",
            false
        ),
        annotation(
            "Starts",
            "blue",
            "heliograph_process_start_time_seconds * 1000",
            "started",
            "{{role}} {{instance}}",
            true
        )
    ])
}

fn variables(board: &Board) -> Value {
    let mut list = vec![json!({
        "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus",
        "current": {}, "hide": 0, "includeAll": false, "multi": false, "options": [], "refresh": 1,
        "regex": "", "skipUrlSync": false
    })];
    let mut chosen: Vec<String> = Vec::new();
    for (name, label) in [
        ("cluster", "Cluster"),
        ("namespace", "Namespace"),
        ("role", "Role"),
        ("pod", "Pod"),
    ] {
        let selector = match &*chosen.join(", ") {
            "" => board.anchor.to_owned(),
            chosen => format!("{}{{{chosen}}}", board.anchor),
        };
        let values = format!("label_values({selector}, {name})");
        chosen.push(format!(r#"{name}=~"${name}""#));
        list.push(json!({
            "type": "query", "name": name, "label": label, "datasource": source(),
            "definition": values, "query": { "qryType": 1, "query": values, "refId": name },
            // A label that is missing matches too.
            "allValue": ".*", "includeAll": true, "multi": true,
            "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
            "hide": 0, "options": [], "refresh": 2, "regex": "", "skipUrlSync": false, "sort": 1
        }));
    }
    for (name, label, value) in board.inputs {
        let option = json!({ "selected": true, "text": value, "value": value });
        list.push(json!({
            "type": "textbox", "name": name, "label": label, "query": value, "current": option,
            "hide": 0, "options": [option], "skipUrlSync": false
        }));
    }
    list.into()
}

/// Rows one below the other, panels from left to right.
fn panels(rows: &[Row]) -> Value {
    let mut list: Vec<Value> = Vec::new();
    let mut y = 0;
    for row in rows {
        list.push(json!({
            "id": list.len() + 1, "type": "row", "title": row.title, "collapsed": false,
            "gridPos": { "h": 1, "w": COLUMNS, "x": 0, "y": y }, "panels": []
        }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in &row.panels {
            if x + panel.width > COLUMNS {
                (x, y, height) = (0, y + height, 0);
            }
            let place = json!({ "h": panel.height, "w": panel.width, "x": x, "y": y });
            list.push(drawn(panel, list.len() + 1, &place));
            x += panel.width;
            height = height.max(panel.height);
        }
        y += height;
    }
    list.into()
}

fn drawn(panel: &Panel, id: usize, place: &Value) -> Value {
    let (kind, options, custom) = match panel.kind {
        Kind::Lines | Kind::Stacked => ("timeseries", lines_options(), lines_custom(panel)),
        Kind::Number => ("stat", number_options(panel), json!({})),
        Kind::Bars => ("bargauge", bars_options(), json!({})),
        Kind::Heat => ("heatmap", heat_options(panel), json!({})),
    };
    let color = match panel.kind {
        Kind::Lines | Kind::Stacked => "palette-classic",
        _ => "thresholds",
    };
    let links: Vec<Value> = panel
        .alerts
        .iter()
        .map(|alert| {
            json!({ "title": format!("Runbook: {alert}"), "url": runbook_url(alert), "targetBlank": true })
        })
        .collect();
    let mut defaults = json!({
        "unit": panel.unit,
        "color": { "mode": color },
        "custom": custom,
        "mappings": [],
        "thresholds": { "mode": "absolute", "steps": panel.limits.steps() }
    });
    if panel.kind == Kind::Lines || panel.kind == Kind::Stacked {
        // A ratio may be negative: what is left of a budget.
        let least = if panel.unit == "percentunit" {
            Value::Null
        } else {
            json!(0)
        };
        if let (Some(defaults), false) = (defaults.as_object_mut(), least.is_null()) {
            defaults.insert("min".to_owned(), least);
        }
    }
    json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source(),
        "gridPos": place,
        "links": links,
        "fieldConfig": { "defaults": defaults, "overrides": [] },
        "options": options,
        "targets": targets(panel)
    })
}

fn targets(panel: &Panel) -> Value {
    let one = |(index, query): (usize, &Query)| {
        let format = if panel.kind == Kind::Heat {
            "heatmap"
        } else {
            "time_series"
        };
        let mut target: Map<String, Value> = Map::new();
        target.insert("refId".to_owned(), json!(reference(index)));
        target.insert("datasource".to_owned(), source());
        target.insert("editorMode".to_owned(), json!("code"));
        target.insert("expr".to_owned(), json!(with_variables(&query.expression)));
        target.insert("legendFormat".to_owned(), json!(query.legend));
        target.insert("exemplar".to_owned(), json!(query.exemplars()));
        target.insert("format".to_owned(), json!(format));
        target.insert("range".to_owned(), json!(true));
        target.insert("instant".to_owned(), json!(false));
        Value::Object(target)
    };
    panel.queries.iter().enumerate().map(one).collect()
}

/// A, B, C …
fn reference(index: usize) -> String {
    let letter = u8::try_from(index).map_or('Z', |index| char::from(b'A' + index.min(25)));
    letter.to_string()
}

fn lines_custom(panel: &Panel) -> Value {
    let stacked = panel.kind == Kind::Stacked;
    json!({
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": if stacked { 50 } else { 8 },
        "gradientMode": "none",
        "showPoints": "never",
        "spanNulls": false,
        "axisPlacement": "auto",
        "axisBorderShow": false,
        "scaleDistribution": { "type": "linear" },
        "stacking": { "mode": if stacked { "normal" } else { "none" }, "group": "A" },
        "thresholdsStyle": { "mode": if panel.limits.drawn() { "dashed" } else { "off" } }
    })
}

fn lines_options() -> Value {
    json!({
        "legend": {
            "displayMode": "table", "placement": "bottom", "showLegend": true,
            "calcs": ["lastNotNull", "max"]
        },
        "tooltip": { "mode": "multi", "sort": "desc" }
    })
}

fn reduced() -> Value {
    json!({ "calcs": ["lastNotNull"], "fields": "", "values": false })
}

fn number_options(panel: &Panel) -> Value {
    let named = panel.queries.iter().any(|query| !query.legend.is_empty());
    json!({
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": reduced(),
        "textMode": if named { "value_and_name" } else { "value" },
        "wideLayout": true
    })
}

fn bars_options() -> Value {
    json!({
        "displayMode": "gradient",
        "minVizHeight": 10,
        "minVizWidth": 0,
        "orientation": "horizontal",
        "reduceOptions": reduced(),
        "showUnfilled": true,
        "valueMode": "color"
    })
}

fn heat_options(panel: &Panel) -> Value {
    json!({
        "calculate": false,
        "cellGap": 1,
        "color": {
            "mode": "scheme", "scheme": "Oranges", "exponent": 0.5, "fill": "dark-orange",
            "reverse": false, "scale": "exponential", "steps": 64
        },
        "exemplars": { "color": "rgba(255,0,255,0.7)" },
        "filterValues": { "le": 1e-9 },
        "legend": { "show": true },
        "rowsFrame": { "layout": "auto" },
        "tooltip": { "mode": "single", "yHistogram": false },
        "yAxis": { "axisPlacement": "left", "reverse": false, "unit": panel.unit }
    })
}
