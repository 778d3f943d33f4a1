/** Access tokens over HTTP, as those who hold them see it. */
import type { OutgoingHttpHeaders } from 'node:http'
import type { AccessToken } from '../../src/http/contract/tokens.ts'
import { type Answer, type Asking, json, type TestServer } from './server.ts'
import { assertStatus } from './v1.ts'

export interface MadeToken extends AccessToken {
  token: string
}

export interface Terms {
  name?: string
  scopes?: readonly string[]
  pools?: '*' | readonly string[]
  lifetimeMs?: number | null
}

export function bearer(secret: string): { authorization: string } {
  return { authorization: `Bearer ${secret}` }
}

/** A caller with an access token, or with whatever he sends instead. */
export class Holder {
  readonly server: TestServer
  readonly headers: OutgoingHttpHeaders

  constructor(server: TestServer, headers: OutgoingHttpHeaders) {
    this.server = server
    this.headers = headers
  }

  /** The first admin, who ends open mode. */
  static async first(server: TestServer): Promise<Holder> {
    const { token } = await new Holder(server, {}).make({ name: 'admin', scopes: ['admin'] })
    return new Holder(server, bearer(token))
  }

  ask(method: string, path: string, { headers, ...asking }: Asking = {}): Promise<Answer> {
    return this.server.ask(method, path, { ...asking, headers: { ...this.headers, ...headers } })
  }

  async make(terms: Terms): Promise<MadeToken> {
    const asking = json({ name: 'somebody', ...terms })
    return assertStatus(await this.ask('POST', '/v1/tokens', asking), 201).body as MadeToken
  }

  /** Makes a token, whose holder it returns. */
  async holder(terms: Terms): Promise<Holder> {
    return new Holder(this.server, bearer((await this.make(terms)).token))
  }
}
