// Is the ledger awake? It is told of three bad conversations and a good one, without any cluster, and has to find exactly
// what is wrong with them.
import { options as common } from "./lib/settings.js";
import { Ledger } from "./lib/ledger.js";

export const options = common({
  iterations: 1,
  thresholds: { lost: ["count==3"], doubled: ["count==3"], reordered: ["count==2"], judged: ["count==4"] },
});

// One sender, two viewers; `a`, `b`, `c` are acknowledged, in this order.
function told(seqs) {
  const ledger = new Ledger(2);
  ["a", "b", "c"].forEach((guid, at) => {
    ledger.sent(guid, 0, 0);
    ledger.acknowledge(guid);
    ledger.process(guid, seqs[at]);
  });
  return ledger;
}

function shows(ledger, viewer, rows) {
  rows.forEach(([guid, seq]) => ledger.show(viewer, { guid, seq }, true));
}

const history = (rows) => rows.map(([guid, seq]) => ({ guid, seq })).reverse();
const ALL = [["a", 1], ["b", 2], ["c", 3]];

export default function () {
  // Nothing is wrong, and a repeat on the same socket is allowed.
  const good = told([1, 2, 3]);
  shows(good, 0, [...ALL, ["a", 1]]);
  shows(good, 1, ALL);
  good.judge(history(ALL));

  // `b` was acknowledged and is not kept, so that seq 2 is nobody's: two findings. A viewer was never shown `c`: one.
  const losing = told([1, 2, 3]);
  shows(losing, 0, [ALL[0], ALL[2]]);
  shows(losing, 1, [ALL[0]]);
  losing.judge(history([ALL[0], ALL[2]]));

  // `a` is kept twice: one row too many, and each of the two seqs contradicts the other one.
  const doubling = told([1, 2, 3]);
  shows(doubling, 0, ALL);
  shows(doubling, 1, ALL);
  doubling.judge(history([...ALL, ["a", 4]]));

  // `c` is shown before `b`; and `b` is kept before `a`, although it was sent behind it.
  const mixing = told([2, 1, 3]);
  shows(mixing, 0, [["b", 1], ["c", 3], ["a", 2]]);
  shows(mixing, 1, [["b", 1], ["a", 2], ["c", 3]]);
  mixing.judge(history([["b", 1], ["a", 2], ["c", 3]]));
}
