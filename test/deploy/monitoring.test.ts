/** The alerts and the dashboard in deploy/, by a real Prometheus that looks at a real server. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parse } from 'yaml'
import { ROOT } from '../support/command.ts'
import { freePort, listens } from '../support/ports.ts'
import { json, TestServer } from '../support/server.ts'
import { Holder } from '../support/tokens.ts'
import { needTool, run } from '../support/tools.ts'

const FOLDER = join(ROOT, 'deploy/prometheus')
/** For Prometheus to come by as often as a rate needs. */
const SCRAPES_MS = 30_000

interface Alert {
  alert: string
  expr: string
  annotations: Record<string, string>
}

interface Panel {
  title: string
  gridPos: { x: number; y: number; w: number; h: number }
  targets: { expr: string; legendFormat: string }[]
}

interface Dashboard {
  panels: Panel[]
  templating: { list: { name: string; type: string; query: string | { query: string } }[] }
}

interface Series {
  metric: Record<string, string>
}

const { groups } = parse(readFileSync(join(FOLDER, 'alerts.yml'), 'utf8')) as {
  groups: { rules: Alert[] }[]
}
const ALERTS = groups.flatMap(({ rules }) => rules)
const DASHBOARD = JSON.parse(
  readFileSync(join(ROOT, 'deploy/grafana/dashboard.json'), 'utf8'),
) as Dashboard

/** What Grafana makes of an expression where all is shown. */
function filled(expr: string): string {
  return expr.replaceAll('$__rate_interval', '1m').replace(/"\$(job|instance|pool)"/g, '".*"')
}

/** Metrics with the labels that narrow them. */
function selectorsIn(expr: string): string[] {
  return expr.match(/\b(?:up|(?:token_orchestrator|process|nodejs)_\w+)\b(?:\{[^}]*\})?/g) ?? []
}

/** Labels by which an expression groups. */
function groupedBy(expr: string): string[] {
  return [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, labels]) => labels!.split(', '))
}

suite('the alerts', () => {
  test('are rules that Prometheus takes', () => {
    const promtool = needTool('promtool')
    run(promtool, 'check', 'rules', join(FOLDER, 'alerts.yml'))
    run(promtool, 'check', 'config', '--syntax-only', join(FOLDER, 'prometheus.yml'))
  })

  test('fire when they should and not before', () => {
    run(needTool('promtool'), 'test', 'rules', join(FOLDER, 'alerts.test.yml'))
  })

  test('are all tested: once firing, and once with something near that does not', () => {
    const { tests } = parse(readFileSync(join(FOLDER, 'alerts.test.yml'), 'utf8')) as {
      tests: {
        input_series: object[]
        alert_rule_test: { alertname: string; exp_alerts: object[] }[]
      }[]
    }
    for (const { alert } of ALERTS) {
      const own = tests.filter(({ alert_rule_test }) =>
        alert_rule_test.some(({ alertname }) => alertname === alert),
      )
      const fires = own.some(({ alert_rule_test, input_series }) =>
        alert_rule_test.some(
          ({ exp_alerts }) => exp_alerts.length === 1 && input_series.length > 1,
        ),
      )
      assert(fires, alert)
    }
  })

  test('are explained under their names in docs/operations.md', () => {
    const text = readFileSync(join(ROOT, 'docs/operations.md'), 'utf8')
    const headings = [...text.matchAll(/^### (TokenOrchestrator\w+)$/gm)].map(([, name]) => name)
    assert.deepEqual(
      headings,
      ALERTS.map(({ alert }) => alert),
    )
  })
})

suite('in a Prometheus that watches a server', () => {
  let server: TestServer
  let prometheus: ChildProcess
  let origin: string
  const directory = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))

  before(async () => {
    needTool('promtool') // both come with one package
    server = await TestServer.start()
    const admin = await Holder.first(server)
    await traffic(admin)
    const { token } = await admin.make({ name: 'prometheus', scopes: ['metrics'] })
    const port = await freePort()
    origin = `http://127.0.0.1:${port}`
    cpSync(join(FOLDER, 'alerts.yml'), join(directory, 'alerts.yml'))
    writeFileSync(join(directory, 'token'), token, { mode: 0o600 })
    const config = readFileSync(join(FOLDER, 'prometheus.yml'), 'utf8')
      .replace('scrape_interval: 15s', 'scrape_interval: 500ms\n  evaluation_interval: 500ms')
      .replace('/etc/prometheus/token-orchestrator.token', join(directory, 'token'))
      .replace(':3000', `:${server.port}`)
    writeFileSync(join(directory, 'prometheus.yml'), config)
    const args = [
      `--config.file=${directory}/prometheus.yml`,
      `--storage.tsdb.path=${directory}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
    ]
    prometheus = spawn(needTool('prometheus'), args, { stdio: 'ignore' })
    await listens(port, prometheus)
    await untilSome('rate(token_orchestrator_changes_total[1m])')
  })

  after(async () => {
    prometheus.kill()
    if (prometheus.exitCode === null && prometheus.signalCode === null)
      await once(prometheus, 'exit')
    await server[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true })
  })

  /** Something of each kind that the figures tell of. */
  async function traffic(admin: Holder): Promise<void> {
    await admin.ask('PUT', '/v1/pools/llm', json({ leaseTtlMs: 100 }))
    await admin.ask('POST', '/v1/pools/llm/keys', json({ count: 5 }))
    for (let at = 0; at < 3; at++) await admin.ask('POST', '/v1/pools/llm/leases')
    await admin.ask('POST', '/keys')
    await admin.ask('GET', '/keys')
  }

  async function api(path: string): Promise<unknown> {
    const answer = await fetch(`${origin}/api/v1/${path}`)
    const { data, error } = (await answer.json()) as { data: unknown; error?: string }
    assert.equal(answer.status, 200, String(error))
    return data
  }

  async function query(expr: string): Promise<Series[]> {
    const { result } = (await api(`query?query=${encodeURIComponent(expr)}`)) as {
      result: Series[]
    }
    return result
  }

  async function untilSome(expr: string): Promise<Series[]> {
    const deadline = Date.now() + SCRAPES_MS
    for (;;) {
      const found = await query(expr)
      if (found.length > 0) return found
      assert(Date.now() < deadline, `Prometheus never knew ${expr}`)
      await sleep(100)
    }
  }

  test('every metric and label of an alert is there', async () => {
    for (const { alert, expr, annotations } of ALERTS) {
      const selectors = selectorsIn(expr)
      assert(selectors.length > 0, alert)
      const used = [
        ...groupedBy(expr),
        ...JSON.stringify(annotations)
          .matchAll(/\$labels\.(\w+)/g)
          .map(([, label]) => label!),
      ]
      for (const selector of selectors) {
        const found = await query(selector)
        assert(found.length > 0, `${alert}: nothing is ${selector}`)
        for (const label of used) assert(label in found[0]!.metric, `${alert}: ${label}`)
      }
    }
  })

  test('every panel of the dashboard shows something', async () => {
    for (const { title, targets } of DASHBOARD.panels) {
      assert(targets.length > 0, title)
      for (const { expr, legendFormat } of targets) {
        const shown = await untilSome(filled(expr))
        for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g))
          assert(Object.hasOwn(shown[0]!.metric, label!), `${title}: ${label!}`)
        for (const selector of selectorsIn(filled(expr)))
          assert((await query(selector)).length > 0, `${title}: nothing is ${selector}`)
      }
    }
  })

  test('every variable of the dashboard has values', async () => {
    const queries = DASHBOARD.templating.list.filter(({ type }) => type === 'query')
    assert.deepEqual(queries.map(({ name }) => name).sort(), ['instance', 'job', 'pool'])
    for (const { name, query: asked } of queries) {
      assert(typeof asked === 'object')
      const [, selector, label] = /^label_values\((.*), (\w+)\)$/.exec(asked.query)!
      const found = await query(filled(selector!))
      assert(found.length > 0 && Object.hasOwn(found[0]!.metric, label!), name)
    }
  })

  test('what is not there is found missing', async () => {
    for (const expr of ['token_orchestrator_key', 'token_orchestrator_keys{state="free"}'])
      assert.deepEqual(await query(expr), [])
  })

  test('no alert of a healthy server fires, and all are evaluated', async () => {
    const { groups: loaded } = (await api('rules')) as {
      groups: { rules: { name: string; health: string; state: string }[] }[]
    }
    const rules = loaded.flatMap((group) => group.rules)
    assert.equal(rules.length, ALERTS.length)
    for (const { name, health, state } of rules) {
      assert.notEqual(health, 'err', name)
      assert.notEqual(state, 'firing', name)
    }
  })
})

test('the panels of the dashboard do not overlap', () => {
  const taken = new Set<string>()
  for (const { title, gridPos } of DASHBOARD.panels) {
    assert(gridPos.x + gridPos.w <= 24, title)
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        assert(!taken.has(`${x},${y}`), title)
        taken.add(`${x},${y}`)
      }
    }
  }
})
