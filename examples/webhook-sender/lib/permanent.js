// An error that no retry can help.
export class Permanent extends Error {}
