/** Small drawings of numbers that are also there as text. */

const SVG = 'http://www.w3.org/2000/svg'
const SECONDS = 60
const WIDTH = 120
const HEIGHT = 24

export const STATES = ['available', 'leased', 'cooling', 'disabled']

function shape(tag, attributes = {}) {
  const made = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value))
  return made
}

/** How the keys of a pool are spread over the states. */
export class Spread {
  node = shape('svg', {
    class: 'spread',
    viewBox: '0 0 100 8',
    preserveAspectRatio: 'none',
    'aria-hidden': 'true',
  })
  #parts = STATES.map((state) => shape('rect', { class: state, height: 8 }))

  constructor() {
    this.node.append(...this.#parts)
  }

  update(counts) {
    const total = STATES.reduce((sum, state) => sum + counts[state], 0)
    let x = 0
    for (const [at, state] of STATES.entries()) {
      const width = total === 0 ? 0 : (100 * counts[state]) / total
      this.#parts[at].setAttribute('x', x)
      this.#parts[at].setAttribute('width', width)
      x += width
    }
  }
}

/** How many a second, over the last minute. */
export class Rate {
  node = shape('svg', {
    class: 'rate',
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: 'none',
    'aria-hidden': 'true',
  })
  #line = shape('polyline', { 'vector-effect': 'non-scaling-stroke' })
  #area = shape('polygon')
  #seconds = new Array(SECONDS).fill(0)
  #sinceTick = 0

  constructor() {
    this.node.append(this.#area, this.#line)
    this.#draw()
  }

  add(times) {
    this.#sinceTick += times
  }

  /** A second is over. */
  tick() {
    const wasIdle = this.#seconds.every((times) => times === 0)
    this.#seconds.shift()
    this.#seconds.push(this.#sinceTick)
    this.#sinceTick = 0
    if (!wasIdle || this.#seconds.at(-1) > 0) this.#draw()
  }

  /** Over the last ten seconds, for a person cannot read what changes every second. */
  get perSecond() {
    const times = this.#seconds.slice(-10).reduce((sum, one) => sum + one, 0)
    const rate = times / 10
    return rate === 0 || rate >= 10 ? String(Math.round(rate)) : rate.toFixed(1)
  }

  #draw() {
    const most = Math.max(1, ...this.#seconds)
    const points = this.#seconds.map((times, at) => {
      const x = (at * WIDTH) / (SECONDS - 1)
      const y = HEIGHT - 1 - ((HEIGHT - 3) * times) / most
      return `${x.toFixed(1)},${y.toFixed(1)}`
    })
    this.#line.setAttribute('points', points.join(' '))
    this.#area.setAttribute('points', `0,${HEIGHT} ${points.join(' ')} ${WIDTH},${HEIGHT}`)
  }
}
