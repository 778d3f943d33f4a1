/** Where Redis is, as it is written: what is understood, and what is said of the rest. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { parseAddress } from '../../src/store/redis/address.ts'
import { Command, ROOT } from '../support/command.ts'

suite('the address of Redis', () => {
  test('is of one node', () => {
    assert.deepEqual(parseAddress(['redis://host']), {
      kind: 'single',
      options: { host: 'host', port: 6379, db: 0 },
    })
    assert.deepEqual(parseAddress(['rediss://me:p%40ss@[::1]:7000/3']), {
      kind: 'single',
      options: { username: 'me', password: 'p@ss', tls: {}, host: '::1', port: 7000, db: 3 },
    })
  })

  test('is of a cluster', () => {
    assert.deepEqual(parseAddress(['redis://:p@a:1', 'redis://:p@b']), {
      kind: 'cluster',
      nodes: [
        { host: 'a', port: 1 },
        { host: 'b', port: 6379 },
      ],
      options: { password: 'p' },
    })
  })

  test('is of Sentinels and the name of the primary', () => {
    assert.deepEqual(parseAddress(['redis+sentinel://:p@a/main', 'redis+sentinel://:p@b:1/main']), {
      kind: 'single',
      options: {
        password: 'p',
        sentinelPassword: 'p',
        failoverDetector: true,
        sentinels: [
          { host: 'a', port: 26_379 },
          { host: 'b', port: 1 },
        ],
        name: 'main',
      },
    })
  })

  for (const [urls, why] of [
    [['http://:secret@a'], /not a URL like redis:/],
    [['localhost:6379'], /not a URL like redis:/],
    [['redis://:secret@a', 'rediss://:secret@b'], /same scheme and path/],
    [['redis://:secret@a/zero'], /number of a database/],
    [['redis://a/1', 'redis://b/1'], /a cluster has one database/],
    [['redis+sentinel://:secret@a'], /the name of the primary/],
  ] as const) {
    test(`is not ${urls.join()}`, async () => {
      const args = [join(ROOT, 'src/cli/main.ts'), 'serve', '--redis', urls.join()]
      await using command = new Command(process.execPath, args)
      assert.equal(await command.code, 2)
      assert.match(command.stderr, why)
      assert(!command.stderr.includes('secret'))
    })
  }
})
