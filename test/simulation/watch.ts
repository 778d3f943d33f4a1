/** Looks over an engine's shoulder: what it did, and what it will answer once that is saved. */
import type { Engine, Run } from '../../src/engine/engine.ts'
import type { StoreSources } from './store-copies.ts'

/** What is told right after an engine has done it. */
export interface Watcher {
  ran(run: Run, now: number, finished: boolean): void
  putPool(told: unknown, name: string, policy: Parameters<Engine['putPool']>[1]): void
  removePool(told: unknown, name: string): void
  policy(told: unknown, name: string): void
  poolNames(): void
  restored(engine: Engine): void
}

type Method = 'run' | 'putPool' | 'removePool' | 'policy' | 'poolNames' | 'restored'

const watchers = new WeakMap<object, Watcher>()

/** From now on that one is told, and no other. */
export function watch({ Engine }: Pick<StoreSources, 'Engine'>, watcher: Watcher): void {
  const { prototype } = Engine
  const isWatched = watchers.has(prototype)
  watchers.set(prototype, watcher)
  if (isWatched) return
  const told = (): Watcher => watchers.get(prototype)!
  after(prototype, 'run', (_, finished, run, now) => {
    told().ran(run, now, finished)
  })
  after(prototype, 'putPool', (_, result, name, policy) => {
    told().putPool(result, name, policy)
  })
  after(prototype, 'removePool', (_, result, name) => {
    told().removePool(result, name)
  })
  after(prototype, 'policy', (_, result, name) => {
    told().policy(result, name)
  })
  after(prototype, 'poolNames', () => {
    told().poolNames()
  })
  after(prototype, 'restored', (engine) => {
    told().restored(engine)
  })
}

function after<M extends Method>(
  prototype: Engine,
  name: M,
  look: (
    engine: Engine,
    result: ReturnType<Engine[M]>,
    ...parameters: Parameters<Engine[M]>
  ) => void,
): void {
  type Parameter = Parameters<Engine[M]>
  type Result = ReturnType<Engine[M]>
  const original = prototype[name] as unknown as (...parameters: Parameter) => Result
  function watched(this: Engine, ...parameters: Parameter): Result {
    const result = original.apply(this, parameters)
    look(this, result, ...parameters)
    return result
  }
  Object.assign(prototype, { [name]: watched })
}
