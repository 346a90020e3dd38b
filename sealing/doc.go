// Package sealing keeps Secret values out of the log in the clear.
//
// What the log holds of a Secret is sealed with AES-256-GCM under one cluster
// key, which lives in a file outside of the log. Each value is bound to the
// place it was sealed for (namespace, name, uid, field), so a sealed value that
// is moved to another object or another field does not open. A sealed value is
//
//	pp1:KEYID:BODY
//
// where KEYID names the key without revealing it, and BODY is the nonce and the
// ciphertext: raw bytes in a data value, base64 in an annotation, which must be
// text. The annotation in which kubectl repeats what was applied is sealed too.
//
// Start reading at [Sealer.Seal]; [LoadOrCreate] is about the key.
package sealing
