/**
 * `npm run bench -- [engine|pools|http|storm|durable|batch|waiters|imports|sdk|history|overload|redis] [--quick] [--json FILE]`;
 * see README.md.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { batch } from './batch.ts'
import { durable } from './durable.ts'
import { engine } from './engine.ts'
import { history } from './history.ts'
import { http } from './http.ts'
import { imports } from './imports.ts'
import { machineText, thisMachine } from './machine.ts'
import { overload } from './overload.ts'
import { pools } from './pools.ts'
import { redisStore } from './redis-store.ts'
import { print, type Table } from './report.ts'
import { sdk } from './sdk.ts'
import { storm } from './storm.ts'
import { waiters } from './waiters.ts'

const BENCHES: Record<string, (quick: boolean) => Promise<Table[]>> = {
  engine,
  pools,
  http,
  storm,
  durable,
  batch,
  waiters,
  imports,
  sdk,
  history,
  overload,
  redis: redisStore,
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false }, json: { type: 'string' } },
})
const names = positionals.length > 0 ? positionals : Object.keys(BENCHES)
const unknown = names.find((name) => !Object.hasOwn(BENCHES, name))
if (unknown !== undefined) {
  console.error(`No benchmark "${unknown}": there are ${Object.keys(BENCHES).join(', ')}.`)
  process.exit(2)
}

const machine = { ...thisMachine(), quick: values.quick }
console.log(`${machineText(machine)}
Medians; in brackets the lowest and the highest sample.`)
if (values.quick)
  console.log('A QUICK RUN: it shows that the benchmarks work, the figures mean nothing.')
const results: Record<string, Table[]> = {}
for (const name of names) {
  const tables = await BENCHES[name]!(values.quick)
  tables.forEach(print)
  results[name] = tables
}
if (values.json !== undefined) {
  writeFileSync(values.json, `${JSON.stringify({ machine, results }, null, 2)}\n`)
}
