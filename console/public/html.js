// What the page is made of: Preact, with templates instead of JSX, so that nothing has to be built. Every value in a
// template becomes a text node or an attribute.
import { h, render, Fragment } from 'preact';
import htm from 'htm';

export const html = htm.bind(h);
export { render, Fragment };
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
