// Validates CSAF 2.0 documents by the strict schema and the mandatory tests of the standard, and by the optional ones too
// with the argument `all`, with the library of the BSI. Reads a JSON list of documents from standard input; writes a list
// of faults, one for each.
import validateStrict from "@secvisogram/csaf-validator-lib/validateStrict.js";
import * as mandatory from "@secvisogram/csaf-validator-lib/mandatoryTests.js";
import { csaf_2_0_strict } from "@secvisogram/csaf-validator-lib/schemaTests.js";

// Loading them takes as long as all the rest.
const optional = process.argv[2] === "all" ? await import("@secvisogram/csaf-validator-lib/optionalTests.js") : {};
const tests = [csaf_2_0_strict, ...Object.values(mandatory), ...Object.values(optional)];
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);

const results = [];
for (const document of JSON.parse(Buffer.concat(chunks))) {
  const found = await validateStrict(tests, document);
  const faults = found.tests.flatMap(({ name, errors = [], warnings = [] }) =>
    [...errors, ...warnings].map(({ message, instancePath }) => `${name} ${instancePath}: ${message}`));
  results.push({ tests: found.tests.length, faults });
}
process.stdout.write(JSON.stringify(results));
