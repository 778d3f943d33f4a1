/** Access tokens: who is known, until when, and what cannot be done away with. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { suite, test } from 'node:test'
import type { Refusal } from '../../src/engine/errors.ts'
import { Access, type AccessToken, FILE_TOKEN, type TokenTerms } from '../../src/service/access.ts'
import { type Scope, SCOPES } from '../../src/service/scopes.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { type Store, StoreFailure } from '../../src/store/store.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const LIMITS = { maxTotalKeys: 1000, maxPools: 4 }
const FILE_SECRET = 'f'.repeat(32)

interface Made {
  token: AccessToken
  secret: string
}

class Office {
  readonly clock = new VirtualClock()
  readonly random = new SeededRandom(1)
  readonly disk = new SimulatedDisk()
  store!: Store
  access!: Access

  static async open(): Promise<Office> {
    const office = new Office()
    await office.restart()
    return office
  }

  /** Another process finds what is on the disk. */
  async restart(): Promise<void> {
    const events = { wakeAt: () => undefined }
    this.store = await EmbeddedStore.open(
      LIMITS,
      this.clock,
      this.random,
      events,
      (journalEvents) => this.disk.open(journalEvents),
    )
    this.access = await Access.open(this.store, this.clock, this.random)
  }

  ask(terms: Partial<TokenTerms> = {}): Promise<Made | Refusal> {
    return this.access.create({
      name: 'worker',
      scopes: ['admin'],
      pools: '*',
      lifetimeMs: null,
      ...terms,
    })
  }

  async make(terms: Partial<TokenTerms> = {}): Promise<Made> {
    const made = await this.ask(terms)
    assert(!('code' in made), JSON.stringify(made))
    return made
  }
}

function codeOf(answer: object | null): string | null {
  return answer !== null && 'code' in answer ? (answer.code as string) : null
}

suite('the first token', () => {
  const tooWeak: [what: string, terms: Partial<TokenTerms>][] = [
    ...SCOPES.filter((scope) => scope !== 'admin').map((scope): [string, Partial<TokenTerms>] => [
      scope,
      { scopes: [scope] },
    ]),
    ['all but admin', { scopes: SCOPES.filter((scope) => scope !== 'admin') }],
    ['an admin that expires', { lifetimeMs: 315_360_000_000 }],
  ]
  for (const [what, terms] of tooWeak) {
    test(`cannot be ${what}, and then there is still none`, async () => {
      const office = await Office.open()
      assert.equal(codeOf(await office.ask(terms)), 'admin_token_first')
      assert.equal(office.access.isOpen, true)
      assert.equal((await office.store.documents()).size, 0)
    })
  }

  test('ends open mode for good: after a restart too, and however many were deleted since', async () => {
    const office = await Office.open()
    assert.equal(office.access.isOpen, true)
    const first = await office.make()
    const others = [await office.make({ scopes: ['read'], lifetimeMs: 1000 }), await office.make()]
    for (const { token } of others) assert.equal(await office.access.remove(token.id), null)
    await office.clock.advance(1000)
    assert.equal(codeOf(await office.access.remove(first.token.id)), 'last_admin_token')
    assert.equal(office.access.isOpen, false)
    await office.restart()
    assert.equal(office.access.isOpen, false)
    assert.equal(office.access.authenticate(first.secret)?.id, first.token.id)
  })

  test('a change whose outcome nobody knows is what the store says', async () => {
    const office = await Office.open()
    const first = await office.make()
    const second = await office.make()
    const { store } = office
    const put = store.putDocument.bind(store)
    store.putDocument = async (name, text) => {
      await put(name, text)
      throw new StoreFailure('storage_failed')
    }
    await assert.rejects(office.access.remove(second.token.id), StoreFailure)
    assert.equal(office.access.authenticate(second.secret), null)
    assert.equal(office.access.authenticate(first.secret)?.id, first.token.id)
  })
})

suite('a secret', () => {
  test('is known for its token, and nothing else is', async () => {
    const office = await Office.open()
    const made = [await office.make(), await office.make(), await office.make({ scopes: ['read'] })]
    for (const { token, secret } of made) {
      assert.equal(office.access.authenticate(secret), token)
      for (const wrong of [
        ...[`${secret}x`, secret.slice(0, -1), secret.slice(4), secret.toUpperCase(), ` ${secret}`],
        ...[token.id, token.sha256, token.name, '', 'tok_', '*', FILE_TOKEN],
      ]) {
        assert.equal(office.access.authenticate(wrong), null, wrong)
      }
    }
  })

  test('has 256 random bits and says what it is', async () => {
    const office = await Office.open()
    const secrets = new Set<string>()
    for (let count = 0; count < 200; count++) secrets.add((await office.make()).secret)
    assert.equal(secrets.size, 200)
    for (const secret of secrets) assert.match(secret, /^tok_[\w-]{43}$/)
    // Every place but the last, of which four bits are used, takes on many digits.
    const all = [...secrets]
    for (let place = 4; place < 46; place++) {
      assert.ok(new Set(all.map((secret) => secret[place])).size > 48, String(place))
    }
  })

  test('is kept as its SHA-256 only', async () => {
    const office = await Office.open()
    const { token, secret } = await office.make({ name: 'CI, "north"' })
    await office.access.trustFile(FILE_SECRET)
    const documents = await office.store.documents()
    const sha256 = createHash('sha256').update(secret).digest('base64url')
    assert.deepEqual(JSON.parse(documents.get(`token/${token.id}`)!), {
      id: token.id,
      name: 'CI, "north"',
      sha256,
      scopes: ['admin'],
      pools: '*',
      createdAt: office.clock.now(),
      expiresAt: null,
    })
    const text = JSON.stringify([...documents])
    for (const hidden of [secret, secret.slice(4), FILE_SECRET]) assert.ok(!text.includes(hidden))
  })
})

suite('an end', () => {
  test('comes at its millisecond, not before, and then there is no such token', async () => {
    const office = await Office.open()
    await office.make()
    const { token, secret } = await office.make({ lifetimeMs: 5000 })
    assert.equal(token.expiresAt, office.clock.now() + 5000)
    await office.clock.advance(4999)
    assert.equal(office.access.authenticate(secret), token)
    assert.equal(office.access.whyNotStill(token), null)
    assert.equal(office.access.page(10).tokens.length, 2)
    await office.clock.advance(1)
    assert.equal(office.access.authenticate(secret), null)
    assert.equal(codeOf(office.access.whyNotStill(token)), 'access_token_invalid')
    assert.equal(office.access.page(10).tokens.length, 1)
    assert.equal(codeOf(await office.access.remove(token.id)), 'token_not_found')
    await office.restart()
    assert.equal(office.access.authenticate(secret), null)
  })

  test('comes by deletion, at once', async () => {
    const office = await Office.open()
    await office.make()
    const { token, secret } = await office.make()
    assert.equal(await office.access.remove(token.id), null)
    assert.equal(office.access.authenticate(secret), null)
    assert.equal(codeOf(office.access.whyNotStill(token)), 'access_token_invalid')
    assert.equal(codeOf(await office.access.remove(token.id)), 'token_not_found')
    await office.restart()
    assert.equal(office.access.authenticate(secret), null)
  })

  test('of open mode is one for those who came in it', async () => {
    const office = await Office.open()
    assert.equal(office.access.whyNotStill(null), null)
    await office.make()
    assert.equal(codeOf(office.access.whyNotStill(null)), 'access_token_required')
  })
})

suite('the last admin that does not expire', () => {
  test('stays, whatever else there is', async () => {
    const office = await Office.open()
    const { token } = await office.make()
    await office.make({ lifetimeMs: 1000 })
    await office.make({ scopes: SCOPES.filter((scope) => scope !== 'admin') })
    assert.equal(codeOf(await office.access.remove(token.id)), 'last_admin_token')
    const other = await office.make({ scopes: ['read', 'admin'] })
    assert.equal(await office.access.remove(token.id), null)
    assert.equal(codeOf(await office.access.remove(other.token.id)), 'last_admin_token')
  })

  test('of two, one stays, even if both are to go at once', async () => {
    for (let round = 0; round < 20; round++) {
      const office = await Office.open()
      const made = [await office.make(), await office.make()]
      const answers = await Promise.all(made.map(({ token }) => office.access.remove(token.id)))
      assert.deepEqual(answers.map(codeOf), [null, 'last_admin_token'])
      assert.equal(office.access.page(10).tokens.length, 1)
    }
  })

  test('two first tokens at once: one that is no admin does not slip in', async () => {
    const office = await Office.open()
    const [weak, admin, later] = await Promise.all([
      office.ask({ scopes: ['read'] }),
      office.ask(),
      office.ask({ scopes: ['read'] }),
    ])
    assert.deepEqual([weak, admin, later].map(codeOf), ['admin_token_first', null, null])
  })
})

suite('what a token may', () => {
  test('its scopes, and what they have with them', async () => {
    const office = await Office.open()
    await office.make()
    for (const scope of SCOPES) {
      const { token } = await office.make({ scopes: [scope] })
      const held: readonly Scope[] = {
        admin: SCOPES,
        'leases:admin': ['leases:admin', 'leases'] as const,
      }[scope as string] ?? [scope]
      for (const other of SCOPES) {
        assert.equal(token.may([other]), held.includes(other), `${scope}: ${other}`)
      }
      assert.equal(token.may([]), false)
      assert.equal(token.may(['introspect', scope]), true)
    }
  })

  test('its pools, and no others', async () => {
    const office = await Office.open()
    await office.make()
    const some = (await office.make({ scopes: ['read'], pools: ['a', 'b'] })).token
    const none = (await office.make({ scopes: ['read'], pools: [] })).token
    const all = (await office.make({ scopes: ['read'] })).token
    const seen = ['a', 'b', 'c', '', '*', 'A', 'constructor', '__proto__'].map((pool) => [
      some.sees(pool),
      none.sees(pool),
      all.sees(pool),
    ])
    assert.deepEqual(seen, [
      [true, false, true],
      [true, false, true],
      ...Array<boolean[]>(6).fill([false, false, true]),
    ])
  })

  for (const scope of ['admin', 'metrics'] as const) {
    test(`${scope} goes with all pools only`, async () => {
      const office = await Office.open()
      await office.make()
      const answer = await office.ask({ scopes: ['read', scope], pools: ['a'] })
      assert.equal(codeOf(answer), 'invalid_request')
    })
  }
})

test('pages: by id, each once, and a cursor whose token is gone goes on all the same', async () => {
  const office = await Office.open()
  const ids: string[] = []
  for (let count = 0; count < 25; count++) ids.push((await office.make()).token.id)
  ids.sort()
  const pages: string[][] = []
  let cursor: string | undefined
  do {
    const page = office.access.page(10, cursor)
    pages.push(page.tokens.map(({ id }) => id))
    cursor = page.nextCursor ?? undefined
    if (pages.length === 1) await office.access.remove(cursor!)
  } while (cursor !== undefined)
  assert.deepEqual(
    pages.map(({ length }) => length),
    [10, 10, 5],
  )
  assert.deepEqual(pages.flat(), ids)
  assert.equal(office.access.page(24).nextCursor, null)
})

test('10 000 fit; then those that are over make room, and only they', async () => {
  const office = await Office.open()
  const { secret } = await office.make()
  const making: Promise<Made>[] = []
  for (let count = 1; count < 10_000; count++) {
    making.push(office.make({ scopes: ['read'], lifetimeMs: count <= 3 ? 1000 : null }))
  }
  await Promise.all(making)
  const one = { scopes: ['read'] } as const
  assert.equal(codeOf(await office.ask(one)), 'too_many_tokens')
  await office.clock.advance(1000)
  for (let count = 0; count < 3; count++) await office.make(one)
  assert.equal(codeOf(await office.ask(one)), 'too_many_tokens')
  assert.equal((await office.store.documents()).size, 10_000)
  assert.equal(office.access.authenticate(secret)?.name, 'worker')
})

suite('the token of the file', () => {
  test('is an admin that lasts; another secret takes its place', async () => {
    const office = await Office.open()
    assert.equal(await office.access.trustFile(FILE_SECRET), null)
    assert.equal(office.access.isOpen, false)
    const token = office.access.authenticate(FILE_SECRET)!
    assert.deepEqual([token.id, token.name, token.isLastingAdmin], [FILE_TOKEN, FILE_TOKEN, true])
    await office.clock.advance(5)
    assert.equal(await office.access.trustFile(FILE_SECRET), null)
    assert.equal(office.access.authenticate(FILE_SECRET), token, 'the same is not made anew')
    const second = 's'.repeat(40)
    assert.equal(await office.access.trustFile(second), null)
    for (const restart of [false, true]) {
      if (restart) await office.restart()
      assert.equal(office.access.authenticate(FILE_SECRET), null)
      assert.equal(office.access.authenticate(second)?.id, FILE_TOKEN)
      assert.equal(office.access.page(10).tokens.length, 1)
    }
    assert.equal(codeOf(office.access.whyNotStill(token)), 'access_token_invalid')
  })

  test('goes like any other: unless it is the last', async () => {
    const office = await Office.open()
    await office.access.trustFile(FILE_SECRET)
    assert.equal(codeOf(await office.access.remove(FILE_TOKEN)), 'last_admin_token')
    await office.make()
    assert.equal(await office.access.remove(FILE_TOKEN), null)
    assert.equal(office.access.authenticate(FILE_SECRET), null)
  })
})

suite('where the store fails', () => {
  test('a full disk refuses, and who is known stays so', async () => {
    const office = await Office.open()
    const { token, secret } = await office.make()
    const other = await office.make()
    office.store.putDocument = () => Promise.resolve({ code: 'storage_full' } as const)
    assert.equal(codeOf(await office.ask()), 'storage_full')
    assert.equal(codeOf(await office.access.remove(other.token.id)), 'storage_full')
    assert.equal(codeOf(await office.access.trustFile(FILE_SECRET)), 'storage_full')
    assert.equal(office.access.authenticate(secret), token)
    assert.equal(office.access.authenticate(other.secret), other.token)
    assert.equal(office.access.authenticate(FILE_SECRET), null)
  })

  test('a change that was not saved is none, and later ones go on', async () => {
    const office = await Office.open()
    const first = await office.make()
    const second = await office.make()
    office.disk.decide = () => Promise.resolve('full')
    await assert.rejects(office.access.remove(second.token.id), StoreFailure)
    office.disk.decide = () => Promise.resolve('committed')
    assert.equal(office.access.authenticate(second.secret)?.id, second.token.id)
    assert.equal(office.access.whyNotStill(second.token), null)
    assert.equal(await office.access.remove(second.token.id), null)
    assert.equal(office.access.authenticate(second.secret), null)
    assert.equal(office.access.authenticate(first.secret)?.id, first.token.id)
  })

  test('a change whose outcome nobody knows is what the store says', async () => {
    const office = await Office.open()
    const first = await office.make()
    const second = await office.make()
    const { store } = office
    const put = store.putDocument.bind(store)
    store.putDocument = async (name, text) => {
      await put(name, text)
      throw new StoreFailure('storage_failed')
    }
    await assert.rejects(office.access.remove(second.token.id), StoreFailure)
    assert.equal(office.access.authenticate(second.secret), null)
    assert.equal(office.access.authenticate(first.secret)?.id, first.token.id)
  })
})
