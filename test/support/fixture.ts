import assert from 'node:assert/strict'
import { Engine, Run } from '../../src/engine/engine.ts'
import {
  type Answers,
  isRefusal,
  type Operation,
  type Result,
} from '../../src/engine/operations.ts'
import { DEFAULT_POLICY, type Policy } from '../../src/engine/policy.ts'
import { SeededRandom } from './seeded-random.ts'

/** An engine with one pool, at a time that stands still until a test moves it. */
export class Fixture {
  readonly engine: Engine
  now = Date.UTC(2030, 0, 1)

  constructor(policy: Partial<Policy> = {}, maxTotalKeys = 1000) {
    this.engine = new Engine({ maxTotalKeys, maxPools: 4 }, new SeededRandom(1))
    this.engine.putPool('pool', { ...DEFAULT_POLICY, ...policy })
  }

  /** The result of one operation, a refusal too; settles as long as it takes. */
  ask(operation: Operation, pool = 'pool'): Result {
    const run = new Run(pool, [operation])
    while (!this.engine.run(run, this.now)) this.engine.settle(this.now, 64)
    return run.results[0]!
  }

  /** The answer of an operation that must not be refused. */
  do<O extends Operation>(operation: O, pool = 'pool'): Answers[O['op']] {
    const result = this.ask(operation, pool)
    assert(!isRefusal(result), `${operation.op}: ${JSON.stringify(result)}`)
    return result as Answers[O['op']]
  }

  create(count = 1): string[] {
    return this.do({ op: 'create', count }).keyIds
  }
}
