import { expect, test } from 'vitest';
import { signature, signatureProblem } from '../../support/sigv4.ts';

// The example of AWS's documentation of Signature Version 4 (IAM, ListUsers).
const key = {
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
  region: 'us-east-1',
  service: 'iam',
};
const signedHeaders = ['content-type', 'host', 'x-amz-date'];
const expected = '5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7';
const request = {
  method: 'GET',
  url: '/?Action=ListUsers&Version=2010-05-08',
  headers: {
    'content-type': 'application/x-www-form-urlencoded; charset=utf-8',
    host: 'iam.amazonaws.com',
    'x-amz-date': '20150830T123600Z',
    authorization: `AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=${signedHeaders.join(';')}, Signature=${expected}`,
  },
  body: Buffer.alloc(0),
};
const then = Date.parse('2015-08-30T12:38:00Z');

test('the signature of the documentation’s example is computed', () => {
  expect(signature(request, signedHeaders, key)).toBe(expected);
  expect(signatureProblem(request, key, then)).toBeUndefined();
});

const headers = (changes: object) => ({ ...request, headers: { ...request.headers, ...changes } });
test.each<[string, typeof request, string]>([
  ['no signature', headers({ authorization: undefined }), 'MissingAuthenticationTokenException'],
  ['another body', { ...request, body: Buffer.from('x') }, 'InvalidSignatureException'],
  ['another path', { ...request, url: '/x' }, 'InvalidSignatureException'],
  ['another header', headers({ host: 'example.com' }), 'InvalidSignatureException'],
  ['a header of AWS’s that is not signed', headers({ 'x-amz-target': 'x' }), 'InvalidSignatureException'],
])('%s is refused', (_what, changed, problem) => expect(signatureProblem(changed, key, then)).toBe(problem));

test('another key, region or time is refused', () => {
  expect(signatureProblem(request, { ...key, secretAccessKey: 'x' }, then)).toBe('InvalidSignatureException');
  expect(signatureProblem(request, { ...key, accessKeyId: 'x' }, then)).toBe('UnrecognizedClientException');
  expect(signatureProblem(request, { ...key, region: 'eu-west-1' }, then)).toBe('InvalidSignatureException');
  expect(signatureProblem(request, key, then + 6 * 60_000)).toBe('InvalidSignatureException');
});
