import { test } from 'node:test'
import fc from 'fast-check'
import * as engineModule from '../../src/engine/engine.ts'
import { engineAgreesWithModel } from '../support/model-commands.ts'

const RUNS = Number(process.env.MODEL_RUNS ?? 5000)

test('every answer of the engine is that of the model', async () => {
  await fc.assert(engineAgreesWithModel(engineModule), { numRuns: RUNS })
})
