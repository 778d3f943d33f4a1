/** A wrong setting or command line, in words for the person who gave it. */
export class ConfigError extends Error {}
