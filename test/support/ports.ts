/** Ports for programs that cannot choose one by themselves, and whether they listen yet. */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const START_MS = 20_000

/** They are not given again: who has one may listen in another network, or not yet. */
const given = new Set<number>()

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  if (given.has(port)) return freePort()
  given.add(port)
  return port
}

/** Waits until the program listens there. */
export async function listens(port: number, child: ChildProcess): Promise<void> {
  const deadline = Date.now() + START_MS
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isThere) return
    assert.equal(child.exitCode, null, `${child.spawnfile} has ended`)
    assert(Date.now() < deadline, `${child.spawnfile} does not listen`)
    await sleep(50)
  }
}
