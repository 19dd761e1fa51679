// What came of a run: JSON for programs (OUT/<scenario>.json), lines for people (standard output).
import { OUT, PROFILE, URL } from "./settings.js";

// The handleSummary of a scenario. `did`: its sizes, in a sentence; `show`: the metrics people care about, without
// those that have thresholds, which are shown anyway.
export function summary(scenario, { question, did, show = [] }) {
  return (run) => {
    const rules = thresholds(run.metrics);
    const result = {
      scenario, question, did, profile: PROFILE, url: URL,
      seconds: Math.round(run.state.testRunDurationMs / 100) / 10,
      passed: rules.length > 0 && rules.every((rule) => rule.ok),
      thresholds: rules,
      // k6 leaves out what never happened.
      figures: Object.fromEntries(show.map((name) => [name, (run.metrics[name] || { values: { count: 0 } }).values])),
      metrics: run.metrics,
    };
    const files = { stdout: text(result) };
    if (OUT) files[`${OUT}/${scenario}.json`] = `${JSON.stringify(result, null, 1)}\n`;
    return files;
  };
}

function thresholds(metrics) {
  const found = [];
  for (const [metric, { thresholds: rules = {}, values }] of Object.entries(metrics)) {
    for (const [rule, { ok }] of Object.entries(rules)) {
      // `p(95)<250` is about values["p(95)"].
      const value = values[rule.split(/[<>=!]/)[0].trim()];
      found.push({ metric, rule, value: value ?? null, ok });
    }
  }
  return found.sort((a, b) => (a.metric < b.metric ? -1 : 1));
}

export function number(value) {
  if (value === null || value === undefined) return "none";
  return String(Number(value.toPrecision(3)));
}

// `messages: med 3, p(95) 9, max 12`, or the count.
export function figure(name, values) {
  if (values.med === undefined) return `${name} ${number(values.count ?? values.value ?? values.rate)}`;
  return `${name}: ${["med", "p(95)", "p(99)", "max"].map((key) => `${key} ${number(values[key])}`).join(", ")}`;
}

function text({ scenario, question, did, profile, seconds, passed, thresholds: rules, figures }) {
  const lines = [`${scenario} (${profile}, ${seconds} s): ${passed ? "passed" : "FAILED"}`, `  ${question}`, `  ${did}`];
  for (const { metric, rule, value, ok } of rules) {
    lines.push(`  ${ok ? "ok    " : "FAILED"} ${metric} ${rule}: ${number(value)}`);
  }
  lines.push(...Object.entries(figures).map(([name, values]) => `         ${figure(name, values)}`));
  return `${lines.join("\n")}\n`;
}
