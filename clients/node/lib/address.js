'use strict';
/* address: where lumnid is, as LUMNID_ADDRESS or the program says it. */

const DEFAULT = 'unix:///run/lumnid/lumnid.sock';

/*
 * Returns { path } of a Unix stream socket, { host, port } of a UDP port, or
 * null where the text is no address.
 */
function
parse_address(text) {
	if (typeof text !== 'string')
		return null;
	if (text.startsWith('/'))
		return { path: text };
	if (text.startsWith('unix:')) {
		const path = text.slice(5).replace(/^\/\//, '');
		return path === '' ? null : { path };
	}
	const udp = /^udp:\/\/(?:\[([0-9a-fA-F:.]+)\]|([^:/\s]+)):(\d{1,5})\/?$/
	    .exec(text);
	if (udp === null)
		return null;
	const port = Number(udp[3]);
	if (port < 1 || port > 65535)
		return null;
	return { host: udp[1] ?? udp[2], port };
}

module.exports = { parse_address, DEFAULT };
