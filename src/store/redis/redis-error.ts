/** This Redis, or what is in it, is not for this program. */
export class RedisError extends Error {}
