// Package serve answers HTTP requests about the history of a cluster.
//
//	GET /periplus/v1/history?object=KEY[&limit=N][&format=entries|told]
//	GET /periplus/v1/why?object=KEY[&last=true]  or  ?seq=N  [&format=…]
//	GET /periplus/v1/tail[?from=N|last=N][&follow=true][&format=entries|told|cloudevents]
//	GET /periplus/v1/version
//
// KEY is GROUP/RESOURCE/NAMESPACE/NAME, "core" for the empty group and "_" for no
// namespace, as in the CloudEvents subject. History and tail answer with one JSON
// document a line, oldest first; why answers with a JSON array, effect first.
//
// The formats: entries are [history.Entry], told are [history.Told], cloudevents
// is the JSON format of CloudEvents. Secret values are sealed in the log and stay
// so here.
//
// History and why say in the headers Periplus-From and Periplus-To which range of
// sequences the answer speaks for: nothing later was looked at. Every answer has
// the header Periplus-Version, so that a client can tell this server from another
// one that has no such path. Errors are Kubernetes' Status objects: 400 for a bad
// parameter, 404 for an object or a sequence of which the log knows nothing, 405
// for any method but GET. A stream that breaks off ends with such an object.
//
// Whoever mounts the handlers decides who may ask. Start reading at [Handlers].
package serve
