// The table of the README, made of the JSON of all scenarios: RESULTS (their folder), README (the document), K6 and
// MACHINE (words). k6 can read and write files, so nothing else has to be installed for it.
import { PROFILE, options as common } from "./lib/settings.js";
import { figure, number } from "./lib/summary.js";

const SCENARIOS = ["connect", "chat", "fanout", "reconnect", "slow-reader", "rest"];
const BEGIN = "<!-- written by `make k6` -->\n";
const END = "<!-- end of what `make k6` writes -->";

const results = SCENARIOS.map((name) => JSON.parse(open(`${__ENV.RESULTS}/${name}.json`)));
const readme = open(__ENV.README);

export const options = common({ iterations: 1 });

export default function () {}

const rule = ({ metric, rule: words, value, ok }) => `${ok ? "" : "**failed** "}${metric} ${words}: ${number(value)}`;

function row({ scenario, did, passed, thresholds, figures }) {
  const found = Object.entries(figures).map(([name, values]) => figure(name, values));
  return `| ${scenario} | ${did} | ${thresholds.map(rule).join("<br>")} | ${found.join("<br>")} | ${passed ? "passed" : "**failed**"} |`;
}

export function handleSummary() {
  const [before, rest] = readme.split(BEGIN);
  const after = (rest || "").split(END)[1];
  if (after === undefined) throw new Error(`${__ENV.README} has lost its marks`);
  const table = [
    `PROFILE=${PROFILE}, ${__ENV.K6}, ${__ENV.MACHINE}; durations in ms.`,
    "",
    "| Scenario | What was done | Thresholds, and what was found | More | |",
    "|---|---|---|---|---|",
    ...results.map(row),
    "",
  ].join("\n");
  return { [__ENV.README]: `${before}${BEGIN}${table}${END}${after}` };
}
