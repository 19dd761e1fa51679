// What a run is told by its environment: URL, PROFILE, OUT (a folder for results), PEOPLE (accounts made before).

export const URL = (__ENV.URL || "http://127.0.0.1:8080").replace(/\/+$/, "");
export const PROFILE = __ENV.PROFILE || "smoke";
export const OUT = __ENV.OUT || "";

// `smoke` asks whether it works, `full` how well: the sizes of the chosen profile.
export function sizes(profiles) {
  const chosen = profiles[PROFILE];
  if (!chosen) throw new Error(`PROFILE is ${Object.keys(profiles).join(" or ")}, not ${PROFILE}`);
  return chosen;
}

// What every scenario has in common. Names of percentiles as the thresholds and the summary use them.
export function options(own) {
  return {
    summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max", "count"],
    setupTimeout: "300s",
    noConnectionReuse: false,
    ...own,
  };
}
