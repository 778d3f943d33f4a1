/** Real gateways set up as docs/gateways.md says, and what they guard. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT } from './command.ts'
import { freePort, listens } from './ports.ts'
import { blocksIn } from './shown-commands.ts'
import { needTool } from './tools.ts'

export interface GatewayKind {
  /** Of its block in the document. */
  language: string
  program: string
  /** The whole configuration, around that of the document. */
  whole: (site: string, directory: string) => string
  args: (file: string, directory: string) => string[]
}

export const NGINX: GatewayKind = {
  language: 'nginx',
  program: 'nginx',
  whole: (site, directory) => `
    daemon off; worker_processes 1; pid ${directory}/pid; error_log stderr; user root;
    events {}
    http {
      access_log off;
      client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy;
      fastcgi_temp_path ${directory}/fastcgi; uwsgi_temp_path ${directory}/uwsgi;
      scgi_temp_path ${directory}/scgi;
      ${site}
    }`,
  args: (file, directory) => ['-c', file, '-p', directory],
}

export const CADDY: GatewayKind = {
  language: 'caddyfile',
  program: 'caddy',
  whole: (site) => `{\n\tadmin off\n\tauto_https off\n}\n${site}`,
  args: (file) => ['run', '--adapter', 'caddyfile', '--config', file],
}

/** A gateway that asks the server on one port, with that access token, about what is for the other. */
export class Gateway implements AsyncDisposable {
  readonly port: number
  readonly #process: ChildProcess
  readonly #directory: string

  private constructor(port: number, process: ChildProcess, directory: string) {
    this.port = port
    this.#process = process
    this.#directory = directory
  }

  static async start(
    { language, program, whole, args }: GatewayKind,
    ports: { server: number; upstream: number },
    secret: string,
  ): Promise<Gateway> {
    const path = needTool(program)
    const port = await freePort()
    const [block] = blocksIn(readFileSync(join(ROOT, 'docs/gateways.md'), 'utf8'), language)
    const site = block!
      .replaceAll(':8080', `:${port}`)
      .replaceAll(':3000', `:${ports.server}`)
      .replaceAll(':9000', `:${ports.upstream}`)
      .replaceAll('ACCESS_TOKEN', secret)
    const directory = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
    const file = join(directory, 'config')
    writeFileSync(file, whole(site, directory))
    const env = { ...process.env, HOME: directory, XDG_DATA_HOME: directory }
    const child = spawn(path, args(file, directory), { stdio: 'ignore', env })
    const gateway = new Gateway(port, child, directory)
    try {
      await listens(port, child)
    } catch (error) {
      await gateway[Symbol.asyncDispose]()
      throw error
    }
    return gateway
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill()
    if (this.#process.exitCode === null && this.#process.signalCode === null)
      await once(this.#process, 'exit')
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

/** A server of somebody else's. */
export class Upstream implements Disposable {
  readonly port: number
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
  }

  static async start(answer: RequestListener): Promise<Upstream> {
    const server = createServer(answer).listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new Upstream(server)
  }

  [Symbol.dispose](): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }
}
