/** The image and its composition: what builds it is done in a clean folder, and what it holds is run as there. */
import assert from 'node:assert/strict'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, normalize } from 'node:path'
import { after, suite, test } from 'node:test'
import { parse } from 'yaml'
import { readConfig } from '../../src/cli/config.ts'
import { cannotMount } from '../faults/disks.ts'
import { Command, listeningPort, ROOT } from '../support/command.ts'
import { imageEnvironment, onlyOne, readDockerfile, saidBy } from '../support/manifests.ts'
import { TestServer } from '../support/server.ts'
import { needTool } from '../support/tools.ts'

interface Service {
  ports: string[]
  environment: Record<string, string>
  secrets: string[]
  volumes: string[]
  read_only: boolean
  healthcheck: { test: string[] }
}

interface Composition {
  services: { server: Service }
  secrets: Record<string, { file: string }>
  volumes: Record<string, unknown>
}

const SECRET = 'a-secret-that-an-operator-drew-at-random'
const [build, image, ...others] = readDockerfile() as [
  ReturnType<typeof readDockerfile>[number],
  ReturnType<typeof readDockerfile>[number],
]
const composition = parse(readFileSync(join(ROOT, 'compose.yaml'), 'utf8')) as Composition
const { server: service } = composition.services
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  engines: { node: string }
  devDependencies: { node: string }
}

suite('the image', () => {
  const folder = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
  /** Where each stage has its root. */
  const rootOf = (stage: string): string => join(folder, stage)
  after(() => {
    rmSync(folder, { recursive: true })
  })

  test('is built in one stage and run from another, both with the Node that this is tested with', () => {
    assert.deepEqual(others, [])
    assert.deepEqual([build.name, image.name], ['build', null])
    assert.equal(build.image, image.image)
    const [, major] = /^node:(\d+)-slim$/.exec(image.image)!
    assert.equal(manifest.devDependencies.node.split('.')[0], `^${major!}`)
  })

  test('runs as nobody special, and keeps its state where the volume is', () => {
    const [user] = saidBy(image, 'USER')
    assert.equal(saidBy(image, 'USER').length, 1)
    assert.match(user!, /^[1-9]\d*:[1-9]\d*$/)
    const config = readConfig([], {
      ...imageEnvironment(image),
      TOKEN_ORCHESTRATOR_BEHIND_PROXY: 'true',
    })
    const volume = onlyOne(saidBy(image, 'VOLUME'))
    assert.equal(config.dataDir, volume)
    assert.equal(config.host, '0.0.0.0')
    assert.equal(String(config.port), onlyOne(saidBy(image, 'EXPOSE')))
    const [uid, gid] = user!.split(':')
    const make = `install --directory --owner=${uid!} --group=${gid!} --mode=0700 ${volume}`
    assert.equal(onlyOne(saidBy(image, 'RUN')), make)
  })

  test('is built by what the first stage says', async () => {
    const [include, ...kept] = readFileSync(join(ROOT, '.dockerignore'), 'utf8').trim().split('\n')
    assert.equal(include, '*')
    const context = join(folder, 'context')
    for (const path of kept)
      cpSync(join(ROOT, path.slice(1)), join(context, path.slice(1)), { recursive: true })
    const workdir = join(rootOf('build'), onlyOne(saidBy(build, 'WORKDIR')))
    mkdirSync(workdir, { recursive: true })
    for (const { name, text } of build.instructions) {
      if (name === 'WORKDIR') continue
      if (name === 'COPY') {
        const paths = text.split(' ')
        const target = paths.pop()!
        for (const path of paths) {
          const to = target.endsWith('/')
            ? join(workdir, target, basename(path))
            : join(workdir, target)
          cpSync(join(context, path), to, { recursive: true })
        }
        continue
      }
      assert.equal(name, 'RUN')
      const env = { npm_config_prefer_offline: 'true', npm_config_audit: 'false' }
      await using command = new Command('sh', ['-c', text], { cwd: workdir, env })
      assert.equal(await command.code, 0, `${text}: ${command.stderr}`)
    }
  })

  test('holds what it needs and not what only builders need', () => {
    const root = rootOf('image')
    for (const text of saidBy(image, 'COPY')) {
      const [, from, to] = /^--from=build (\S+) (\S+)$/.exec(text)!
      cpSync(join(rootOf('build'), from!), join(root, to!), {
        recursive: true,
        verbatimSymlinks: true,
      })
    }
    assert(existsSync(join(root, 'app/node_modules/fastify')))
    for (const name of ['typescript', 'eslint', 'node', 'prettier'])
      assert(!existsSync(join(root, 'app/node_modules', name)), name)
    assert.deepEqual(
      globSync('app/**/*.ts', { cwd: root, exclude: ['**/node_modules', '**/*.d.ts'] }),
      [],
    )
  })

  test(
    'serves as its user, where it can write nowhere but in its volume',
    { skip: cannotMount },
    async () => {
      // Its parts lie in a folder here, and not at the root.
      const root = rootOf('image')
      chmodSync(folder, 0o755)
      const node = join(folder, 'node')
      copyFileSync(process.execPath, node)
      chmodSync(node, 0o755)
      const data = join(folder, 'data')
      mkdirSync(data)
      const [uid, gid] = onlyOne(saidBy(image, 'USER')).split(':')
      writeFileSync(join(folder, 'admin.secret'), SECRET, { mode: 0o644 })
      const [program, main] = JSON.parse(onlyOne(saidBy(image, 'ENTRYPOINT'))) as string[]
      const args = JSON.parse(onlyOne(saidBy(image, 'CMD'))) as string[]
      assert.equal(program, 'node')
      const script = `
      mount -t tmpfs -o uid=${uid!},gid=${gid!},mode=0700 tmpfs '${data}'
      mount -o remount,bind,ro /
      cd /
      exec setpriv --reuid=${uid!} --regid=${gid!} --clear-groups --no-new-privs --bounding-set=-all \\
        '${node}' '${join(root, main!)}' ${args.join(' ')}`
      const env = {
        ...imageEnvironment(image),
        ...service.environment,
        TOKEN_ORCHESTRATOR_DATA_DIR: data,
        TOKEN_ORCHESTRATOR_ADMIN_TOKEN_FILE: join(folder, 'admin.secret'),
        TOKEN_ORCHESTRATOR_PORT: '0',
      }
      needTool('setpriv')
      await using command = new Command('unshare', ['--mount', 'sh', '-euc', script], { env })
      const origin = `http://127.0.0.1:${await listeningPort(command)}`
      const headers = { authorization: `Bearer ${SECRET}` }
      assert.equal((await fetch(`${origin}/keys`, { method: 'POST', headers })).status, 201)
      for (const path of ['/keys', '/v1/backup', '/metrics', '/docs', '/readyz'])
        assert.equal((await fetch(origin + path, { headers })).status, 200, path)
      command.kill('SIGTERM')
      assert.equal(await command.code, 0, command.stderr)
    },
  )
})

suite('the composition', () => {
  test('gives settings that there are, and files where it says', () => {
    const env = { ...imageEnvironment(image), ...service.environment }
    const config = readConfig([], env)
    const secret = onlyOne(service.secrets)
    assert.equal(config.adminTokenFile, `/run/secrets/${secret}`)
    assert(config.behindProxy && !config.memory)
    assert.deepEqual(Object.keys(composition.secrets), [secret])
    const [volume, path] = onlyOne(service.volumes).split(':')
    assert.equal(path, config.dataDir)
    assert.deepEqual(Object.keys(composition.volumes), [volume])
    // Nobody but this machine.
    assert.equal(onlyOne(service.ports), `127.0.0.1:3000:${config.port}`)
    assert(service.read_only)
  })

  test('keeps the secret and the state out of the image', () => {
    const kept = readFileSync(join(ROOT, '.dockerignore'), 'utf8')
    const { file } = Object.values(composition.secrets)[0]!
    assert.equal(dirname(normalize(file)), '.')
    assert(!kept.includes(file))
    assert(readFileSync(join(ROOT, '.gitignore'), 'utf8').split('\n').includes('*.secret'))
  })

  test('sees whether the server takes work', async () => {
    const [kind, program, ...args] = service.healthcheck.test
    assert.deepEqual([kind, program], ['CMD', 'node'])
    const exitOf = async (port: number): Promise<number | null> => {
      const filled = args.map((arg) => arg.replace(':3000', `:${port}`))
      await using command = new Command(process.execPath, filled)
      return await command.code
    }
    const server = await TestServer.start()
    try {
      assert.equal(await exitOf(server.port), 0)
      server.orchestrator.drain()
      assert.equal(await exitOf(server.port), 1)
    } finally {
      await server[Symbol.asyncDispose]()
    }
    assert.equal(await exitOf(server.port), 1)
  })
})
