/** The manifests in deploy/kubernetes: what they say is what Kubernetes, the image and the server know. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { StatefulSet } from 'kubernetes-types/apps/v1.d.ts'
import type { Service } from 'kubernetes-types/core/v1.d.ts'
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.d.ts'
import ts from 'typescript'
import { parse, parseAllDocuments } from 'yaml'
import { readConfig } from '../../src/cli/config.ts'
import { operational } from '../../src/http/contract/operational.ts'
import { ROOT } from '../support/command.ts'
import { imageEnvironment, onlyOne, readDockerfile, saidBy } from '../support/manifests.ts'
import { needTool, run } from '../support/tools.ts'

const FOLDER = join(ROOT, 'deploy/kubernetes')
/** Where the types of each kind are. */
const TYPES: Record<string, string> = {
  StatefulSet: 'apps/v1',
  Service: 'core/v1',
  PodDisruptionBudget: 'policy/v1',
}

interface Manifest {
  apiVersion: string
  kind: string
}

interface Kustomization {
  resources: string[]
  images: { name: string; newTag: string }[]
}

function read(file: string): unknown {
  return parse(readFileSync(join(FOLDER, file), 'utf8'))
}

const kustomization = read('kustomization.yaml') as Kustomization
const set = read('statefulset.yaml') as Required<StatefulSet>
const service = read('service.yaml') as Required<Service>
const budget = read('disruption-budget.yaml') as Required<PodDisruptionBudget>
const image = readDockerfile().at(-1)!
const pod = set.spec.template.spec!
const container = onlyOne(pod.containers)

/** What the types of Kubernetes' API have against manifests, unknown fields included. */
function faultsOf(manifests: Manifest[]): string[] {
  const code = manifests
    .map((manifest, at) => {
      const type = `import('kubernetes-types/${TYPES[manifest.kind]!}.d.ts').${manifest.kind}`
      return `export const m${at}: ${type} = ${JSON.stringify(manifest)}`
    })
    .join('\n')
  const file = join(ROOT, 'test/deploy/manifests-as-code.ts')
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    module: ts.ModuleKind.NodeNext,
    allowImportingTsExtensions: true,
    types: [],
  }
  const host = ts.createCompilerHost(options)
  const fromDisk = host.getSourceFile.bind(host)
  host.getSourceFile = (name, version) =>
    name === file ? ts.createSourceFile(name, code, version) : fromDisk(name, version)
  const program = ts.createProgram([file], options, host)
  return ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' '))
}

suite('the manifests', () => {
  test('are those that the kustomization names', () => {
    const files = globSync('*.yaml', { cwd: FOLDER }).filter(
      (file) => file !== 'kustomization.yaml',
    )
    assert.deepEqual(files.sort(), kustomization.resources.toSorted())
    const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      version: string
    }
    assert.deepEqual(onlyOne(kustomization.images), {
      name: container.image,
      newTag: manifest.version,
    })
  })

  test('are taken by kustomize', () => {
    const built = parseAllDocuments(run(needTool('kubectl'), 'kustomize', FOLDER))
    const kinds = built.map((document) => (document.toJS() as Manifest).kind)
    assert.deepEqual(kinds.sort(), Object.keys(TYPES).sort())
  })

  test("are what Kubernetes' API knows, and nothing that it does not", () => {
    const known = [set, service, budget] as unknown as Manifest[]
    assert.deepEqual(faultsOf(known), [])
    const misspelt = structuredClone(set) as unknown as { spec: object } & Manifest
    Object.assign(misspelt.spec, { replicaz: 1 })
    assert.match(faultsOf([misspelt]).join(), /replicaz/)
  })
})

suite('the server in them', () => {
  const env = Object.fromEntries(container.env!.map(({ name, value }) => [name, value!]))
  const config = readConfig([], { ...imageEnvironment(image), ...env })

  test('is given settings that there are, and files where it looks for them', () => {
    const mounts = new Map(container.volumeMounts!.map(({ name, mountPath }) => [mountPath, name]))
    assert.equal(mounts.get(config.dataDir), onlyOne(set.spec.volumeClaimTemplates!).metadata!.name)
    const volume = onlyOne(pod.volumes!)
    const [folder, file] = [
      config.adminTokenFile!.replace(/\/[^/]+$/, ''),
      config.adminTokenFile!.replace(/^.*\//, ''),
    ]
    assert.equal(mounts.get(folder), volume.name)
    const { secretName, defaultMode } = volume.secret!
    assert.equal(defaultMode, 0o440)
    const text = readFileSync(join(FOLDER, 'kustomization.yaml'), 'utf8')
    assert(text.includes(`secret generic ${secretName!} --from-file=${file}=`))
  })

  test('is one, since its state is its own', () => {
    assert.equal(set.spec.replicas, 1)
    assert.deepEqual(onlyOne(set.spec.volumeClaimTemplates!).spec!.accessModes, [
      'ReadWriteOncePod',
    ])
  })

  test('is asked for its health where it tells of it', () => {
    const { startupProbe, livenessProbe, readinessProbe, ports } = container
    const port = onlyOne(ports!)
    assert.equal(port.containerPort, config.port)
    for (const [probe, route] of [
      [startupProbe, operational.health],
      [livenessProbe, operational.health], // a full disk is not mended by a restart
      [readinessProbe, operational.readiness],
    ] as const) {
      assert.equal(route.scopes, null)
      assert.deepEqual(probe!.httpGet, { path: route.url, port: port.name })
    }
    assert.equal(onlyOne(service.spec.ports!).targetPort, port.name)
  })

  test('is found by its labels', () => {
    const { labels } = set.spec.template.metadata!
    assert.deepEqual(set.spec.selector.matchLabels, labels)
    assert.deepEqual(service.spec.selector, labels)
    assert.deepEqual(budget.spec.selector!.matchLabels, labels)
    assert.equal(set.spec.serviceName, service.metadata.name)
  })

  test('may do no more than it must', () => {
    const [uid, gid] = onlyOne(saidBy(image, 'USER')).split(':').map(Number)
    assert.equal(pod.automountServiceAccountToken, false)
    assert.deepEqual(pod.securityContext, {
      runAsNonRoot: true,
      runAsUser: uid,
      runAsGroup: gid,
      fsGroup: gid,
      fsGroupChangePolicy: 'OnRootMismatch',
      seccompProfile: { type: 'RuntimeDefault' },
    })
    assert.deepEqual(container.securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
  })

  test('has time to answer what it has begun', () => {
    const compose = parse(readFileSync(join(ROOT, 'compose.yaml'), 'utf8')) as {
      services: { server: { stop_grace_period: string } }
    }
    const unit = readFileSync(join(ROOT, 'deploy/systemd/token-orchestrator.service'), 'utf8')
    const grace = `${String(pod.terminationGracePeriodSeconds)}s`
    assert.equal(compose.services.server.stop_grace_period, grace)
    assert(unit.includes(`TimeoutStopSec=${grace}\n`))
  })
})
