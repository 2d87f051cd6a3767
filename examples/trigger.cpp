// Scores events with a generated header; one event a line of numbers on standard input.
//   jaxad export RUN --format cpp --out exported
//   g++ -O3 -march=native -fno-math-errno -fno-trapping-math -DSCORER=NAME
//       -Iexported examples/trigger.cpp -o trigger     (NAME: what the export printed, or --name)
#include <iostream>

#include "scorer.hpp"

int main() {
  float raw[SCORER::n_inputs], out[3];
  while (true) {
    for (float& number : raw)
      if (!(std::cin >> number)) return 0;
    SCORER::evaluate(raw, out);
    std::cout << out[0] << " " << out[1] << (out[2] > 0 ? " keep" : " drop") << "\n";
  }
}
