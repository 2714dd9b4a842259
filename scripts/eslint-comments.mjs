/**
 * Lint rules for comments.
 *
 * `why-comments`: a block of more than 40 lines in a function has a comment on a line of its own that says why it does what it does.
 * `public-quantities`: in an exported interface, a member that is a number, a list of numbers or a tensor says its unit, range or
 * shape: in a comment of its own, in the interface's comment (by name), or by a name that can mean one thing only.
 * `no-fragments`: a doc comment does not begin as if the sentence before it were there ("Of the parameters.", "Told every step.").
 */

const MAX_LINES = 40;

/** Names that say what they count or measure; docs/glossary.md has those that are words of the field. */
const PLAIN_NAMES =
  /^(num[A-Z]\w*|seqLen|batchSize|vocabSize|hiddenSize|intermediateSize|headDim|seed|steps?|layer|tokens|samples|\w*(Bytes|Ms|Seconds|Tokens|Steps|Layers|Heads|Size|Dim|Width))$/;

/** Types whose values are quantities or tensors, of which the type alone says neither unit nor shape. */
const QUANTITIES = new Set([
  'Int32Array',
  'Float32Array',
  'Float64Array',
  'Uint8Array',
  'Uint16Array',
  'Uint32Array',
  'Value',
  'DeviceTensor',
  'HostTensor',
  'Shape',
]);

function isQuantity(type) {
  switch (type?.type) {
    case 'TSNumberKeyword':
    case 'TSBigIntKeyword':
      return true;
    case 'TSTypeReference':
      return type.typeName.type === 'Identifier' && QUANTITIES.has(type.typeName.name);
    case 'TSTypeOperator':
      return isQuantity(type.typeAnnotation);
    case 'TSArrayType':
      return isQuantity(type.elementType);
    case 'TSUnionType':
      return (
        type.types.some(isQuantity) &&
        type.types.every((t) => isQuantity(t) || t.type === 'TSNullKeyword' || t.type === 'TSUndefinedKeyword')
      );
    default:
      return false;
  }
}

const isDoc = (comment) => comment?.type === 'Block' && comment.value.startsWith('*');

export const whyComments = {
  meta: {
    type: 'suggestion',
    schema: [],
    messages: {
      why: 'A function of {{lines}} lines needs a comment on a line of its own that says why it does what it does.',
    },
  },
  create(context) {
    const { sourceCode } = context;
    const comments = sourceCode.getAllComments().filter(({ loc }) => {
      const line = sourceCode.lines[loc.start.line - 1] ?? '';
      return line.slice(0, loc.start.column).trim() === '';
    });
    const check = (node) => {
      if (node.body?.type !== 'BlockStatement') return;
      const lines = node.loc.end.line - node.loc.start.line + 1;
      if (lines <= MAX_LINES) return;
      const [from, to] = node.body.range;
      if (!comments.some(({ range }) => range[0] > from && range[1] < to))
        context.report({ loc: node.loc.start, messageId: 'why', data: { lines } });
    };
    return { FunctionDeclaration: check, FunctionExpression: check, ArrowFunctionExpression: check };
  },
};

export const publicQuantities = {
  meta: {
    type: 'suggestion',
    schema: [],
    messages: {
      unit: '{{name}} is a quantity or a tensor: say its unit, range or shape in a comment, or name it in that of the interface.',
    },
  },
  create(context) {
    const { sourceCode } = context;
    return {
      'ExportNamedDeclaration > TSInterfaceDeclaration'(node) {
        const ofInterface = sourceCode.getCommentsBefore(node.parent).findLast(isDoc)?.value ?? '';
        for (const member of node.body.body) {
          if (member.type !== 'TSPropertySignature' || member.key.type !== 'Identifier') continue;
          const { name } = member.key;
          if (!isQuantity(member.typeAnnotation?.typeAnnotation) || PLAIN_NAMES.test(name)) continue;
          if (isDoc(sourceCode.getCommentsBefore(member).at(-1))) continue;
          if (new RegExp(`\\b${name}\\b`).test(ofInterface)) continue;
          context.report({ node: member, messageId: 'unit', data: { name: `${node.id.name}.${name}` } });
        }
      },
    };
  },
};

/** Beginnings of comments that say something of what is not named: a hover shows the comment alone. */
const FRAGMENT = /^\**\s*\*?\s*(Of|That of|Told|Null|Such as|As many)\b/;

export const noFragments = {
  meta: {
    type: 'suggestion',
    schema: [],
    messages: { fragment: 'A doc comment is a sentence that stands alone: name what it is about.' },
  },
  create(context) {
    return {
      Program() {
        for (const comment of context.sourceCode.getAllComments())
          if (isDoc(comment) && FRAGMENT.test(comment.value))
            context.report({ loc: comment.loc, messageId: 'fragment' });
      },
    };
  },
};
