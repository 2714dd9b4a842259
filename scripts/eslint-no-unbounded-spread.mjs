/**
 * A lint rule: no list of unknown length is spread into arguments. Each argument takes a place on the stack, so
 * `Math.max(...list)`, `list.push(...others)` and `f.apply(null, list)` throw a RangeError from about 120,000 elements on.
 *
 * Spreading a tuple, whose type says how many elements it has, is allowed, and so is handing the rest parameter of the
 * enclosing function on: who called it has put as many arguments on the stack already.
 */
import { ESLintUtils } from '@typescript-eslint/utils';

export const noUnboundedSpread = ESLintUtils.RuleCreator.withoutDocs({
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      spread:
        'A list of any length must not become arguments: it overflows the stack. Pass the list (maxOf, minOf, append, concatIds of core).',
    },
  },
  defaultOptions: [],
  create(context) {
    const services = ESLintUtils.getParserServices(context);
    const checker = services.program.getTypeChecker();
    const isBounded = (type) =>
      type.isUnion()
        ? type.types.every(isBounded)
        : checker.isTupleType(type) && type.target.combinedFlags !== undefined && !hasRest(type);
    // Bit 4 is ts.ElementFlags.Rest, bit 8 ts.ElementFlags.Variadic.
    const hasRest = (type) => (type.target.combinedFlags & 12) !== 0;
    const isRestParameter = (node) => {
      if (node.type !== 'Identifier') return false;
      for (let scope = context.sourceCode.getScope(node); scope !== null; scope = scope.upper) {
        const variable = scope.set.get(node.name);
        if (variable === undefined) continue;
        return variable.defs.some((d) => d.type === 'Parameter' && d.name.parent.type === 'RestElement');
      }
      return false;
    };
    const check = (node) => {
      for (const argument of node.arguments) {
        if (argument.type !== 'SpreadElement' || isRestParameter(argument.argument)) continue;
        if (!isBounded(services.getTypeAtLocation(argument.argument)))
          context.report({ node: argument, messageId: 'spread' });
      }
      const { callee } = node;
      if (node.arguments.length === 2 && callee.type === 'MemberExpression' && callee.property.name === 'apply')
        context.report({ node, messageId: 'spread' });
    };
    return { CallExpression: check, NewExpression: check };
  },
});
