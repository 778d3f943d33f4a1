/** What shells make of a Tab, each on a terminal of its own. */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { COMMANDS } from '../../src/cli/commands.ts'
import { Command, runCli } from '../support/command.ts'
import { Reader } from '../support/shown-commands.ts'
import { needTool } from '../support/tools.ts'

/** What is typed before a Tab, and what the command is given then. */
const TYPED: [typed: string, given: string][] = [
  ['che', 'check'],
  ['po', 'pools'],
  ['keys exp', 'keys export'],
  ['serve --mem', 'serve --memory'],
  ['serve --durability f', 'serve --durability fsync'],
  ['pools create llm --coo', 'pools create llm --cooldown'],
  ['keys list llm --state dis', 'keys list llm --state disabled'],
  ['keys list llm --state=le', 'keys list llm --state=leased'],
  ['leases release llm - --outcome rate', 'leases release llm - --outcome rate_limited'],
  ['tokens create ci --scope leases:', 'tokens create ci --scope leases:admin'],
  ['tokens create ci --scope read --scope m', 'tokens create ci --scope read --scope metrics'],
  ['keys import llm pri', 'keys import llm prices.csv'],
  ['keys export llm --output pri', 'keys export llm --output prices.csv'],
  ['keys export llm -o pri', 'keys export llm -o prices.csv'],
  ['check --data-dir led', 'check --data-dir ledger'],
  ['exec --pool llm -- work-h', 'exec --pool llm -- work-here'],
  ['exec --pool llm -- work-here pri', 'exec --pool llm -- work-here prices.csv'],
  ['completion z', 'completion zsh'],
  // Only the server knows what goes here, and a file is not it.
  ['pools show pri', 'pools show pri'],
  ['pools list --url pri', 'pools list --url pri'],
]

/** How each is started, and the command set up in it as docs/cli.md says; the command itself shows what it is given. */
const SHELLS: Record<string, { start: string; prepare: string }> = {
  bash: {
    start: '--norc --noprofile -i',
    prepare: 'source <(token-orchestrator completion bash); token-orchestrator() { echo "<$*>"; }',
  },
  zsh: {
    start: '-f -i',
    prepare:
      'autoload -U compinit; compinit -D -u; source <(token-orchestrator completion zsh)\n' +
      'token-orchestrator() { echo "<$*>" }',
  },
  fish: {
    start: '--no-config -i',
    prepare:
      'token-orchestrator completion fish | source\n' +
      'function token-orchestrator; echo "<$argv>"; end',
  },
}

suite('completion', () => {
  for (const [shell, { start, prepare }] of Object.entries(SHELLS)) {
    test(`a Tab in ${shell}`, async () => {
      using reader = new Reader()
      const { directory } = reader
      const bin = join(directory, '.bin')
      reader.has('prices.csv', '')
      reader.has('.bin/work-here', '')
      chmodSync(join(bin, 'work-here'), 0o755)
      mkdirSync(join(directory, 'ledger'))
      const env = { PATH: `${bin}:${process.env.PATH ?? ''}`, HOME: directory, TERM: 'xterm' }
      const line = `${needTool(shell)} ${start}`
      await using terminal = new Command(needTool('script'), ['-qefc', line, '/dev/null'], {
        cwd: directory,
        env,
        input: null,
      })
      terminal.type(`${prepare}\necho rea''dy\n`)
      await terminal.says(/[\r\n]ready/)
      const given: [string, string][] = []
      for (const [typed] of TYPED) {
        terminal.stdout = ''
        terminal.type(`token-orchestrator ${typed}\t\n`)
        const [, said] = await terminal.says(/[\r\n]<([^>\r\n]*)>/)
        given.push([typed, said!.replace(/[ /]+$/, '')])
      }
      terminal.type('exit\n') // by itself, for it still writes its history
      await terminal.code
      assert.deepEqual(given, TYPED)
    })
  }

  test('knows all commands', async () => {
    for (const shell of Object.keys(SHELLS)) {
      const { stdout } = await runCli(['completion', shell])
      for (const [name, { load }] of Object.entries(COMMANDS)) {
        const { shapes } = await load()
        assert(shapes.length > 0, name)
        for (const { name, flags } of shapes) {
          assert(stdout.includes(name), name)
          for (const flag of Object.keys(flags))
            assert.match(stdout, new RegExp(shell === 'fish' ? `-l ${flag} ` : `--${flag}\\b`))
        }
      }
    }
  })

  test('says which shells there are', async () => {
    for (const [args, expected] of [
      [[], /say for which shell: bash\|zsh\|fish\n/],
      [['fihs'], /there is none for "fihs": did you mean "fish"\?\n/],
      [['bash', 'zsh'], /unexpected "zsh"\n/],
    ] as const) {
      const { code, stderr } = await runCli(['completion', ...args])
      assert.equal(code, 2)
      assert.match(stderr, expected)
    }
    const { stdout } = await runCli(['completion', '--help'])
    assert.match(stdout, /^Usage: token-orchestrator completion bash\|zsh\|fish\n/)
  })
})
