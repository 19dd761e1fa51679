// Grafana's own types, made to fit plain JSON: a text where Grafana has an enum of texts, and the options of each kind
// of panel that is used here. grafana/check-types lets the compiler compare every dashboard with it.
import type * as grafana from "@grafana/schema";
import type * as heat from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type * as lines from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";

type Plain<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T : { [K in keyof T]: Plain<T[K]> };

// What Grafana's Prometheus source reads; its types are not in that package.
interface Query extends grafana.DataQuery {
  expr: string;
  legendFormat: string;
  editorMode?: "code" | "builder";
  format?: "time_series" | "table" | "heatmap";
  range?: boolean;
  instant?: boolean;
}

// A panel without a question, a unit or a query is not one of ours.
interface Kind<Name extends string, Options, Custom> extends Omit<grafana.Panel, "type" | "options" | "fieldConfig" | "targets"> {
  type: Name;
  title: string;
  description: string;
  options: Options;
  fieldConfig: { defaults: Omit<grafana.FieldConfig, "custom" | "unit"> & { unit: string; custom?: Custom }; overrides: [] };
  targets: Query[];
}
type Panel =
  | Kind<"timeseries", lines.Options, lines.FieldConfig>
  | Kind<"stat", stat.Options, Record<string, never>>
  | Kind<"heatmap", heat.Options, heat.FieldConfig>;

interface Whole extends Omit<grafana.Dashboard, "panels" | "annotations"> {
  uid: string;
  title: string;
  description: string;
  annotations: { list: (Omit<grafana.AnnotationQuery, "target"> & { target: Query })[] };
  panels: (Panel | grafana.RowPanel)[];
}

export type Dashboard = Plain<Whole>;
