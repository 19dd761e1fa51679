// Makes the accounts of a run of several scenarios, into OUT/people.json: each of them reads it with PEOPLE=.
import { OUT, options as common } from "./lib/settings.js";
import { PEOPLE, people } from "./lib/people.js";

export const options = common({ iterations: 1 });

export const setup = () => people(PEOPLE);

export default function () {}

export const handleSummary = ({ setup_data: made }) => ({ [`${OUT}/people.json`]: JSON.stringify(made) });
