/** Every setting with every kind of wrong value, as flag and as environment variable. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ConfigError } from '../../src/cli/config-error.ts'
import { readConfig, settingsHelp } from '../../src/cli/config.ts'

/** Every flag of `serve` with what it must not be. */
const WRONG_VALUES: Record<string, string[]> = {
  host: ['example.com', '127.0.0.1.example.com', '127.0.0', '256.1.1.1', '[::1]', '*', ''],
  port: ['-1', '65536', '1.5', 'http', '0x50', '8080 ', ''],
  'data-dir': ['', 'a\0b'],
  durability: ['', 'none', 'FSYNC'],
  memory: ['yes', 'TRUE', '2'],
  redis: [''],
  'redis-prefix': ['', 'a b', 'a:b', '{a}', 'x'.repeat(65)],
  'redis-replicas': ['-1', '17', 'all', ''],
  'key-lifetime': ['0s', '5', 'm', '-5m', '1.5h', '5 m', '1d', '3661d', '87661h', '5M', ''],
  'lease-ttl': ['0ms', '60', 's', '60 s', '1e3ms', '87661h', ''],
  'max-keys': ['0', '10000001', '1e3', '-1', 'many', ''],
  'max-total-keys': ['0', '99999999999', '1_000', ''],
  history: ['0s', '00', '24', '1d', '-24h', '87661h', ''],
  'history-records': ['999', '64000001', '0', 'all', ''],
  'encryption-key-file': ['', 'a\0b'],
  'log-level': ['verbose', 'INFO', 'trace', ''],
  'tls-cert': ['', 'a\0b'],
  'tls-key': ['', 'a\0b'],
  'behind-proxy': ['yes', 'TRUE', '2'],
  'admin-token-file': ['', 'a\0b'],
}

/** Flags that take no value on the command line. */
const SWITCHES = ['memory', 'behind-proxy']

/** What each must be, as the message puts it. */
const MUST: Record<string, RegExp> = {
  host: /an IP address or localhost/,
  port: /a whole number from 0 to 65535/,
  'data-dir': /the path of a directory/,
  durability: /one of fsync, os/,
  memory: /true or false/,
  redis: /a URL/,
  'redis-prefix': /1 to 64 letters/,
  'redis-replicas': /a whole number from 0 to 16/,
  'key-lifetime': /a duration like 500ms, 60s, 5m or 1h/,
  'lease-ttl': /a duration like 500ms, 60s, 5m or 1h/,
  'max-keys': /a whole number from 1 to 10000000/,
  'max-total-keys': /a whole number from 1 to \d+/,
  history: /0 or a duration like 24h/,
  'history-records': /a whole number from 1000 to 64000000/,
  'encryption-key-file': /the path of a file/,
  'log-level': /one of debug, info, warn, error, silent/,
  'tls-cert': /the path of a file/,
  'tls-key': /the path of a file/,
  'behind-proxy': /true or false/,
  'admin-token-file': /the path of a file/,
}

const RIGHT_VALUES: Record<string, [text: string, value: unknown][]> = {
  host: [
    ['127.0.0.1', '127.0.0.1'],
    ['127.1.2.3', '127.1.2.3'],
    ['::1', '::1'],
    ['localhost', 'localhost'],
  ],
  port: [
    ['0', 0],
    ['65535', 65_535],
  ],
  'data-dir': [['/var/lib/keys', '/var/lib/keys']],
  durability: [
    ['fsync', 'fsync'],
    ['os', 'os'],
  ],
  redis: [
    ['redis://a:6379', ['redis://a:6379']],
    ['redis://a:1, redis://b:2', ['redis://a:1', 'redis://b:2']],
  ],
  'redis-prefix': [['prod.keys_1-a', 'prod.keys_1-a']],
  'redis-replicas': [
    ['0', 0],
    ['16', 16],
  ],
  'key-lifetime': [
    ['1ms', 1],
    ['500ms', 500],
    ['60s', 60_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['87660h', 315_576_000_000],
  ],
  'max-keys': [
    ['1', 1],
    ['10000000', 10_000_000],
  ],
  history: [
    ['0', 0],
    ['24h', 86_400_000],
  ],
  'history-records': [['1000', 1000]],
  'encryption-key-file': [['/run/secrets/keys', '/run/secrets/keys']],
  'log-level': [
    ['debug', 'debug'],
    ['silent', 'silent'],
  ],
  'admin-token-file': [['/run/secrets/admin', '/run/secrets/admin']],
}

const flags = Object.keys(MUST)

function variableOf(flag: string): string {
  return `TOKEN_ORCHESTRATOR_${flag.toUpperCase().replaceAll('-', '_')}`
}

/** The setting's name in the code. */
function nameOf(flag: string): string {
  const camel = flag.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
  return /lifetime|ttl|history$/.test(flag) ? `${camel}Ms` : camel
}

function assertRefused(read: () => unknown, source: string, flag: string, value: string): void {
  assert.throws(read, (error) => {
    assert.ok(error instanceof ConfigError)
    assert.ok(error.message.startsWith(`${source} must be `), error.message)
    assert.match(error.message, MUST[flag]!)
    assert.ok(error.message.endsWith(`, not "${value}".`), error.message)
    return true
  })
}

test('all settings are tried here', () => {
  const known = [...settingsHelp().matchAll(/^ {2}--(?!help)([\w-]+)/gm)].map(([, flag]) => flag)
  assert.deepEqual(known, flags)
  assert.deepEqual(Object.keys(WRONG_VALUES), flags)
})

suite('a wrong value is named with what it must be', () => {
  for (const flag of flags) {
    test(flag, () => {
      for (const value of WRONG_VALUES[flag]!) {
        // A switch takes no value on the command line; an empty variable is one that is not set.
        if (!SWITCHES.includes(flag)) {
          assertRefused(() => readConfig([`--${flag}=${value}`], {}), `--${flag}`, flag, value)
        }
        if (value !== '') {
          const variable = variableOf(flag)
          assertRefused(() => readConfig([], { [variable]: value }), variable, flag, value)
        }
      }
    })
  }
})

suite('a right value is read, as flag and as variable', () => {
  for (const [flag, values] of Object.entries(RIGHT_VALUES)) {
    test(flag, () => {
      for (const [text, value] of values) {
        for (const config of [
          readConfig([`--${flag}`, text], { [variableOf(flag)]: 'overruled' }),
          readConfig([], { [variableOf(flag)]: text }),
        ]) {
          assert.deepEqual(config[nameOf(flag) as keyof typeof config], value)
        }
      }
    })
  }

  test('what the default pool has saved is not given by default', () => {
    const config = readConfig([], {})
    assert.deepEqual(
      [config.keyLifetimeMs, config.leaseTtlMs, config.maxKeys],
      Array(3).fill(undefined),
    )
  })

  test('what is not given and has no default', () => {
    const { tlsCert, tlsKey, behindProxy, adminTokenFile } = readConfig([], {})
    assert.deepEqual(
      [tlsCert, tlsKey, behindProxy, adminTokenFile],
      [undefined, undefined, false, undefined],
    )
  })

  test('that no history is to be kept is another thing than saying nothing of it', () => {
    const redis = ['--redis', 'redis://127.0.0.1']
    assert.equal(readConfig(redis, {}).historyMs, undefined)
    assert.equal(readConfig([...redis, '--history', '0'], {}).historyMs, 0)
    assert.equal(readConfig([...redis, '--history', '24h'], {}).historyMs, 86_400_000)
  })

  test('a certificate goes with its key', () => {
    const tls = readConfig(['--tls-cert', 'c', '--tls-key', 'k'], {})
    assert.deepEqual([tls.tlsCert, tls.tlsKey], ['c', 'k'])
    for (const flag of ['--tls-cert', '--tls-key']) {
      assert.throws(() => readConfig([flag, 'f'], {}), /go together: give both, or none/)
    }
  })

  test('an address that others reach takes TLS, here or at a proxy', () => {
    for (const host of ['0.0.0.0', '::', '192.168.1.1', '128.0.0.1', '::2', '::ffff:127.0.0.1']) {
      assert.throws(() => readConfig(['--host', host], {}), /give --tls-cert and --tls-key, or --b/)
      const tls = ['--tls-cert', 'c', '--tls-key', 'k']
      for (const more of [tls, ['--behind-proxy']]) {
        assert.deepEqual(readConfig(['--host', host, ...more], {}).host, host)
      }
    }
  })

  test('memory', () => {
    assert.deepEqual(readConfig(['--memory'], { TOKEN_ORCHESTRATOR_MEMORY: 'false' }).memory, true)
    for (const [text, value] of [
      ['true', true],
      ['1', true],
      ['false', false],
      ['0', false],
      ['', false],
    ] as const) {
      assert.deepEqual(readConfig([], { TOKEN_ORCHESTRATOR_MEMORY: text }).memory, value, text)
    }
  })
})
