import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { csvText, parseCsv } from './csv.js';
import { DataError } from './errors.js';

const cellsOf = (text: string, separator?: ',' | '\t') => parseCsv(text, 't.csv', separator).map((row) => row.cells);

describe('CSV', () => {
  it('is written as RFC 4180 has it', () => {
    const rows = [
      ['a,b', 'say "x"', 'two\nlines', null],
      [' padded ', 1.5, true, undefined],
    ];
    expect(csvText(['p', 'q', 'r', 's'], rows)).toBe(
      'p,q,r,s\r\n"a,b","say ""x""","two\nlines",\r\n padded ,1.5,true,\r\n',
    );
  });

  it('holds nothing that a spreadsheet would run; numbers stay numbers', () => {
    const texts = ['=1+1', '+a', '-a', '@sum', '\t=1', '-1.5', '+2e3', "'=1", "'a", 'a=1', ''];
    const text = csvText(['=label'], [...texts.map((t) => [t]), [-1.5]]);
    expect(text).toBe(
      ["'=label", "'=1+1", "'+a", "'-a", "'@sum", "'\t=1", '-1.5', '+2e3', "''=1", "'a", 'a=1', '""', '-1.5', ''].join(
        '\r\n',
      ),
    );
    expect(cellsOf(text.replace('""\r\n', ''))).toEqual(
      [...['=label', ...texts].filter((t) => t !== ''), '-1.5'].map((t) => [t]),
    );
  });

  it('is read with quotes, line ends in fields, any line ends, and knows where its rows begin', () => {
    const text = '\ufeffa,"b ""c""",d\r\n1,"two\r\nlines",3\n\n"x,y",,""\r   \n7,8,9';
    expect(parseCsv(text, 't')).toEqual([
      { cells: ['a', 'b "c"', 'd'], line: 1 },
      { cells: ['1', 'two\r\nlines', '3'], line: 2 },
      { cells: ['x,y', '', ''], line: 5 },
      { cells: ['7', '8', '9'], line: 7 },
    ]);
    expect(cellsOf('a\t"b\tc"\n1\t2', '\t')).toEqual([
      ['a', 'b\tc'],
      ['1', '2'],
    ]);
    expect(cellsOf('')).toEqual([]);
  });

  it('is refused with its line where it is not whole', () => {
    const message = (text: string) => {
      try {
        parseCsv(text, 't.csv');
        return 'read';
      } catch (error) {
        expect(error).toBeInstanceOf(DataError);
        return (error as Error).message;
      }
    };
    expect(message('a,b\n1,"open\n')).toMatch(/^t\.csv is not valid CSV: Quote Not Closed.*line 2/);
    expect(message('a,b\n1,x"y\n')).toMatch(/^t\.csv is not valid CSV: .*line 2/i);
    expect(message('a,b\n1,2\n1,2,3\n')).toBe('t.csv:3: the row has 3 fields, the header has 2');
  });

  it('gives back what was written', () => {
    const cell = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.string({ unit: fc.constantFrom('"', ',', '\n', '\r', ' ', 'a', '\t') }),
    );
    const table = fc
      .integer({ min: 1, max: 4 })
      .chain((width) =>
        fc.array(fc.array(cell, { minLength: width, maxLength: width }), { minLength: 1, maxLength: 5 }),
      );
    fc.assert(
      fc.property(table, (rows) => {
        // Rows of one blank field cannot be told from blank lines, which are passed over.
        fc.pre(rows.every((row) => row.length > 1 || row[0]?.trim() !== ''));
        fc.pre(rows[0]?.[0]?.startsWith('\ufeff') !== true);
        const [columns = [], ...rest] = rows;
        expect(cellsOf(csvText(columns, rest))).toEqual(rows);
      }),
      { numRuns: 500 },
    );
  });
});
